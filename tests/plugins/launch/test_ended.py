"""Of several processes that died, the one that was first is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.run.worker import ENDED, Ended
from framework_plugins.launch.config import FAILED
from framework_plugins.launch.ended import cause


def machines(data_file: Path, number: int, rank: int, tmp_path: Path) -> Plan:
    words = ["launch=ddp", "launch.processes=1", f"launch.machines={number}", f"launch.rank={rank}"]
    more = ["launch.main_address=first", "data=local_file", f"data.path={data_file}"]
    return testing.plan([*words, *more], run_dir=tmp_path / "run")


@pytest.fixture
def plan(data_file: Path, tmp_path: Path) -> Plan:
    return machines(data_file, 1, 0, tmp_path)


def note(folder: Path, *ended: Ended) -> None:
    for each in ended:
        (folder / ENDED.format(each.rank)).write_text(json.dumps(vars(each)), encoding="utf-8")


def test_a_users_mistake_is_told_with_its_process(plan: Plan, tmp_path: Path) -> None:
    late = Ended(0, 2.0, mistake=False, text="Traceback …\nRuntimeError: Connection closed by peer")
    note(tmp_path, late, Ended(1, 1.0, mistake=True, text="no room\nset it"))
    error = cause(plan, tmp_path, 1)
    assert isinstance(error, FrameworkError)
    assert str(error) == "process 1: no room\nset it"


def test_a_failure_is_told_with_its_traceback(plan: Plan, tmp_path: Path) -> None:
    note(tmp_path, Ended(1, 5.0, mistake=False, text="gloo"), Ended(0, 4.0, mistake=False, text="Traceback\nlost"))
    error = cause(plan, tmp_path, 1)
    assert (type(error), str(error)) == (RuntimeError, "launch=ddp: process 0 failed\nTraceback\nlost")


def test_one_that_was_killed_comes_before_those_that_miss_it(plan: Plan, tmp_path: Path) -> None:
    note(tmp_path, Ended(0, 1.0, mistake=False, text="gloo"))
    (tmp_path / FAILED).write_text('{"0": 1, "1": -15, "2": -9}', encoding="utf-8")
    told = str(cause(plan, tmp_path, 1))
    assert told.startswith("launch=ddp: process 2 was killed by signal 9 (SIGKILL), most likely for lack of memory")


GLOO = (
    "Traceback …\nRuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer "
    "[10.0.0.7]:48033. This is typically caused by a remote worker crashing. Check the logs."
)
RESET = (
    "RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:525] Read error [10.0.0.7]:8: Connection "
    "reset by peer"
)
NCCL = (
    "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:94, remote process exited or there was a "
    "network error\nncclRemoteError: A call failed possibly due to a network error or a remote process exiting "
    "prematurely.\nLast error:\nsocketProgress"
)
STORE = (
    "torch.distributed.DistNetworkError: Failed to recv, got 0 bytes. Connection was likely closed. Did the remote "
    "server shutdown or crash?"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GLOO, "Connection closed by peer [10.0.0.7]:48033"),
        (RESET, "Read error [10.0.0.7]:8: Connection reset by peer"),
        (NCCL, "A call failed possibly due to a network error or a remote process exiting prematurely"),
        (STORE, "Failed to recv, got 0 bytes"),
    ],
)
def test_a_machine_that_lost_another_sends_there(text: str, said: str, data_file: Path, tmp_path: Path) -> None:
    note(tmp_path, Ended(0, 1.0, mistake=False, text=text))
    error = cause(machines(data_file, 2, 0, tmp_path), tmp_path, 1)
    assert isinstance(error, FrameworkError)
    told = f"launch=ddp: machine 1 is gone, process 0 here lost it ({said}). See its output for the cause"
    assert str(error) == told
    several = str(cause(machines(data_file, 4, 2, tmp_path), tmp_path, 1))
    assert several.startswith("launch=ddp: one of the machines 0, 1, 3 is gone, process 0 here lost it (")


def test_on_one_machine_a_lost_connection_is_told_as_it_is(plan: Plan, tmp_path: Path) -> None:
    note(tmp_path, Ended(0, 1.0, mistake=False, text=GLOO))
    assert str(cause(plan, tmp_path, 1)) == f"launch=ddp: process 0 failed\n{GLOO}"


def test_another_error_of_a_connection_is_no_lost_machine(data_file: Path, tmp_path: Path) -> None:
    text = "Traceback\nConnectionRefusedError: [Errno 111] Connection refused"
    note(tmp_path, Ended(0, 1.0, mistake=False, text=text), Ended(1, 2.0, mistake=False, text=GLOO))
    told = f"launch=ddp: process 0 failed\n{text}"
    assert str(cause(machines(data_file, 2, 0, tmp_path), tmp_path, 1)) == told


def test_where_nothing_is_known_that_is_said(plan: Plan, tmp_path: Path) -> None:
    assert str(cause(plan, tmp_path, 7)) == "launch=ddp: the group ended with exit code 7; its output is above"
