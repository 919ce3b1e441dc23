"""Of several processes that died, the first is reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework_plugins.launch.config import FAILED_FILE
from framework_plugins.launch.ended import group_error
from framework_plugins.launch.worker import ENDED, Ended


@pytest.fixture
def plan(data_file: Path, tmp_path: Path) -> Plan:
    words = ["launch=ddp", "launch.processes=1", "data=local_file", f"data.path={data_file}"]
    return testing.plan(words, run_dir=tmp_path / "run")


def note(folder: Path, *ended: Ended) -> None:
    for each in ended:
        (folder / ENDED.format(each.rank)).write_text(json.dumps(vars(each)), encoding="utf-8")


def test_a_users_mistake_is_reported_with_its_process(plan: Plan, tmp_path: Path) -> None:
    late = Ended(0, 2.0, mistake=False, text="Traceback …\nRuntimeError: Connection closed by peer")
    note(tmp_path, late, Ended(1, 1.0, mistake=True, text="no room\nset it"))
    error = group_error(plan, tmp_path, 1)
    assert isinstance(error, FrameworkError)
    assert str(error) == "process 1: no room\nset it"


def test_a_failure_is_reported_with_its_traceback(plan: Plan, tmp_path: Path) -> None:
    note(tmp_path, Ended(1, 5.0, mistake=False, text="gloo"), Ended(0, 4.0, mistake=False, text="Traceback\nlost"))
    error = group_error(plan, tmp_path, 1)
    assert (type(error), str(error)) == (RuntimeError, "launch=ddp: process 0 failed\nTraceback\nlost")


def test_one_that_was_killed_comes_before_those_that_miss_it(plan: Plan, tmp_path: Path) -> None:
    note(tmp_path, Ended(0, 1.0, mistake=False, text="gloo"))
    (tmp_path / FAILED_FILE).write_text('{"0": 1, "1": -15, "2": -9}', encoding="utf-8")
    told = str(group_error(plan, tmp_path, 1))
    assert told.startswith("launch=ddp: process 2 was killed by signal 9 (SIGKILL), most likely for lack of memory")


def test_an_agent_that_was_killed_is_not_taken_for_a_process_of_the_group(plan: Plan, tmp_path: Path) -> None:
    told = str(group_error(plan, tmp_path, -9))
    assert told.startswith("launch=ddp: the process that watches the group was killed by signal 9 (SIGKILL), and the")
    outer = str(group_error(plan, tmp_path, -9, of_agent=False))
    assert outer.startswith("launch=ddp: process 0 was killed by signal 9 (SIGKILL), most likely for lack of memory")


def test_where_nothing_is_known_that_is_said(plan: Plan, tmp_path: Path) -> None:
    assert str(group_error(plan, tmp_path, 7)) == "launch=ddp: the group ended with exit code 7; its output is above"
