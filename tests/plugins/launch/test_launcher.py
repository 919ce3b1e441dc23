"""What each machine of a group does, and that no process outlives the run."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.protocols import Launcher
from framework.run.worker import GROUP, JOB
from framework.testing import EchoBackend
from framework.util.errors import DoesNotFitError
from framework_plugins.launch import launcher
from tests.support.program import environment
from tests.support.tiny import chat_rows, tiny_llama

SECOND = ("launch=ddp", "launch.processes=1", "launch.machines=2", "launch.main_address=127.0.0.1", "launch.rank=1")
SLURM = ("launch=ddp", "launch.processes=8", "launch.machines=4", "launch.main_address=slurm", "plan.gpu=h100")


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_NODEID", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)


def launched(plan: Plan) -> object:
    made: Launcher = plan.launch.create()
    return made.launch(plan)


@pytest.mark.parametrize("stages", ["plan", "evaluate", "data,evaluate,export"])
def test_another_machine_than_the_first_starts_no_group_where_nothing_trains(
    stages: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def opened(*_: object) -> None:
        pytest.fail("it has nothing to do with a model")

    monkeypatch.setattr(EchoBackend, "open", opened)
    words = ["data=local_file", f"data.path={data_file}", *SECOND, f"stages=[{stages}]"]
    assert launched(testing.plan(words, run_dir=tmp_path / "run")) is None
    assert caplog.messages == [f"launch.rank=1: stages=[{stages}] is what the first machine does"]
    assert not (tmp_path / "run").exists()


def test_another_machine_looks_at_the_model_too(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", *SECOND, "stages=[plan]"]
    plan = testing.plan([*words, "model=local", f"model.path={tmp_path / 'nowhere'}"], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match="nowhere"):
        launched(plan)


def test_another_machine_on_which_the_run_does_not_fit_says_so_before_it_opens_the_model(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        message = "too large for this one"
        raise DoesNotFitError(message)

    monkeypatch.setattr(launcher, "check_fits", refuse)
    with pytest.raises(DoesNotFitError, match="too large for this one"):
        launched(testing.plan(["data=local_file", f"data.path={data_file}", *SECOND], run_dir=tmp_path / "run"))


def test_a_job_of_slurm_is_planned_before_slurm_starts_it(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", *SLURM]
    assert launched(testing.plan([*words, "stages=[plan]"], run_dir=tmp_path / "run")) is None
    assert (tmp_path / "run" / "forecast.json").exists()
    with pytest.raises(FrameworkError, match=r"^launch\.main_address=slurm: Slurm did not start this"):
        launched(testing.plan(words, run_dir=tmp_path / "other"))
    assert not (tmp_path / "other").exists()


def until(seen: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.1)


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_that_is_killed_while_it_waits_for_a_machine_leaves_nothing(rank: int, tmp_path: Path) -> None:
    base, rows, temporary = tiny_llama(tmp_path / "base"), tmp_path / "rows.jsonl", tmp_path / "temporary"
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(6)), encoding="utf-8")
    temporary.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [
        "model=local", f"model.path={base}", "data=local_file", f"data.path={rows}", "audit=[]", "logger=[]",
        "trainer.device=cpu", "trainer.dtype=fp32", "trainer.max_steps=1", "adapter.r=4", "stages=[data,train]",
        *SECOND[:-1], f"launch.main_port={port}", f"launch.rank={rank}", f"run_dir={tmp_path / 'run'}",
    ]  # fmt: skip
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(temporary)}
    told = f"launch=ddp: waiting for 2 machines at 127.0.0.1:{port}; this is machine {rank}\n"
    said = tmp_path / "said.txt"
    with said.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "framework", *words], env=environment(tmp_path, **paths), stderr=file
        )
    try:
        until(lambda: told in said.read_text(encoding="utf-8") and len(psutil.Process(process.pid).children()) == 1)
        (agent,) = psutil.Process(process.pid).children()
        folder = tmp_path / "run" if rank == 0 else next(temporary.glob("framework-*"))
        assert (folder / GROUP / JOB).exists()
        assert stat.S_IMODE((folder / GROUP).stat().st_mode) == 0o700
        if rank == 0:  # as long as it starts it waits for nothing
            until(lambda: any(each.status == psutil.CONN_LISTEN for each in agent.net_connections()))
        else:
            until(lambda: agent.cpu_times().user > 1)
    finally:
        left = psutil.Process(process.pid).children()
        process.kill()
        process.wait()
        alive = psutil.wait_procs(left, timeout=10)[1]
        for each in alive:
            each.kill()
    assert alive == []
    assert [file for name in ("framework-*", "torchelastic*") for file in temporary.glob(name)] == []
    assert not (tmp_path / "run" / GROUP).exists()


def test_a_port_that_is_taken_is_told_before_the_run_begins(data_file: Path, tmp_path: Path) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        first = [*SECOND[:-1], "launch.rank=0", f"launch.main_port={port}"]
        plan = testing.plan(["data=local_file", f"data.path={data_file}", *first], run_dir=tmp_path / "run")
        told = f"^launch.main_port={port}: Address already in use on this machine. Set one that is free here"
        with pytest.raises(FrameworkError, match=told):
            launched(plan)
    assert not (tmp_path / "run").exists()
