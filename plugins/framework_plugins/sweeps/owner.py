"""The owner of a trial: the folder of its sweep, the number of its job there, the process that asked for it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial

FOLDER_KEY, POINT_KEY, AGAIN_KEY, HOST_KEY, PROCESS_KEY, BEGAN_KEY = (
    "folder",
    "point",
    "again",
    "host",
    "process",
    "process began",
)
"""What a trial notes. `AGAIN` is the number of the trial that it repeats."""


def note_owner(trial: optuna.Trial, folder: Path) -> None:
    """Note that a trial is of this process, for a sweep into `folder`."""
    process = psutil.Process()
    attrs = {
        FOLDER_KEY: str(folder),
        HOST_KEY: socket.gethostname(),
        PROCESS_KEY: process.pid,
        BEGAN_KEY: process.create_time(),
    }
    for name, value in attrs.items():
        trial.set_user_attr(name, value)


def is_elsewhere(trial: FrozenTrial) -> bool:
    """Whether another machine asked for a trial; this machine cannot see whether it is still running."""
    return HOST_KEY in trial.user_attrs and trial.user_attrs[HOST_KEY] != socket.gethostname()


def is_alive(trial: FrozenTrial) -> bool:
    """Whether another process of this machine asked for a trial, and is still there."""
    attrs = trial.user_attrs
    if attrs.get(HOST_KEY) != socket.gethostname() or attrs.get(PROCESS_KEY) == os.getpid():
        return False
    try:
        # The time too: process numbers are used again. Clocks read it with a rounding of their own.
        return bool(abs(psutil.Process(attrs[PROCESS_KEY]).create_time() - attrs[BEGAN_KEY]) < 1)
    except (psutil.Error, KeyError):
        return False
