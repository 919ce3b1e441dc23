"""Whose a trial is, and whether its process still is there."""

import socket
import subprocess
import sys
from pathlib import Path

import optuna
import psutil

from framework_plugins.sweeps.owner import (
    BEGAN_KEY,
    FOLDER_KEY,
    HOST_KEY,
    PROCESS_KEY,
    is_alive,
    is_elsewhere,
    note_owner,
)


def trial(**told: object) -> optuna.trial.FrozenTrial:
    return optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs=told)


def of(process: int, began: float) -> optuna.trial.FrozenTrial:
    return trial(**{HOST_KEY: socket.gethostname(), PROCESS_KEY: process, BEGAN_KEY: began})


def test_a_trial_notes_the_folder_the_machine_and_the_process(tmp_path: Path) -> None:
    study = optuna.create_study()
    note_owner(study.ask(), tmp_path)
    (noted,) = study.trials
    assert (noted.user_attrs[FOLDER_KEY], noted.user_attrs[HOST_KEY]) == (str(tmp_path), socket.gethostname())
    assert not is_elsewhere(noted)
    assert not is_alive(noted)  # it is this process itself


def test_another_machine_is_elsewhere_and_one_that_was_not_noted_is_here() -> None:
    assert is_elsewhere(trial(host="another"))
    assert not is_elsewhere(trial())
    assert not is_alive(trial(host="another", process=1, **{BEGAN_KEY: 0.0}))


def test_a_process_is_alive_until_it_ends_and_not_where_another_has_its_number() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = psutil.Process(process.pid).create_time()
        assert is_alive(of(process.pid, began))
        assert not is_alive(of(process.pid, began - 100))
        process.communicate(b"\n")
    assert not is_alive(of(process.pid, began))
