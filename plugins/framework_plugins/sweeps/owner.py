"""The owner of a trial: the folder of its sweep, the number of its job there, the process that asked for it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import optuna
import psutil
from optuna.trial import FrozenTrial

FOLDER, POINT, AGAIN, HOST, PROCESS, BEGAN = "folder", "point", "again", "host", "process", "process began"
"""What a trial notes. `AGAIN` is the number of the trial that it repeats."""


def note(trial: optuna.Trial, folder: Path) -> None:
    """Note that a trial is of this process, for a sweep into `folder`."""
    process = psutil.Process()
    attrs = {FOLDER: str(folder), HOST: socket.gethostname(), PROCESS: process.pid, BEGAN: process.create_time()}
    for name, value in attrs.items():
        trial.set_user_attr(name, value)


def is_elsewhere(trial: FrozenTrial) -> bool:
    """Whether another machine asked for a trial; this machine cannot see whether it is still running."""
    return HOST in trial.user_attrs and trial.user_attrs[HOST] != socket.gethostname()


def is_alive(trial: FrozenTrial) -> bool:
    """Whether another process of this machine asked for a trial, and is still there."""
    attrs = trial.user_attrs
    if attrs.get(HOST) != socket.gethostname() or attrs.get(PROCESS) == os.getpid():
        return False
    try:
        # The time too: process numbers are used again. Clocks read it with a rounding of their own.
        return bool(abs(psutil.Process(attrs[PROCESS]).create_time() - attrs[BEGAN]) < 1)
    except (psutil.Error, KeyError):
        return False
