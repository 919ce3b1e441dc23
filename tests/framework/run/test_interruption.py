"""Signals that ask a run to end, in every phase of it."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import testing
from framework.api.events import Event
from framework.api.protocols import Logger
from framework.run import interruption, pipeline
from framework.testing.echo import EchoModel
from framework.util.command import this_program
from framework.util.errors import Interrupted
from tests.support.forked_program import MODULE, forks, launch
from tests.support.program import environment, typed
from tests.support.terminal import Terminal

PHASES = {
    "data": ("encode", 1),
    "baseline": ("generate", 1),
    "train": ("train", 1),
    "evaluate": ("generate", 2),
    "export": ("save_tokenizer", 1),
}
"""Which call of the model is in which stage."""
KEPT = {
    "baseline": "data",
    "train": "data, baseline",
    "evaluate": "data, baseline, train",
    "export": "data, baseline, train, evaluate",
}
"""What is not done again, by the stage that a signal ends."""


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Let Ctrl-C count: a shell's background job ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    return ["data=local_file", f"data.path={write_rows(rows)}", "logger=[]", "evaluator=[prompts]", "audit=[]"]


def status(run_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((run_dir / "status.json").read_text(encoding="utf-8"))
    return values


def send_in(monkeypatch: pytest.MonkeyPatch, phase: str, number: int) -> list[int]:
    """Have a signal come in a phase; return the calls so far."""
    name, which = PHASES[phase]
    original, calls = getattr(EchoModel, name), list[int]()

    def called(*arguments: Any, **named: Any) -> Any:
        calls.append(number)
        if len(calls) == which:
            os.kill(os.getpid(), number)
        return original(*arguments, **named)

    monkeypatch.setattr(EchoModel, name, called)
    return calls


@pytest.mark.parametrize(
    ("phase", "number"),
    [*zip(PHASES, itertools.cycle(Interrupted.SIGNALS)), *(("train", number) for number in Interrupted.SIGNALS[1:])],
)
def test_a_run_ends_in_every_phase_and_says_how_it_goes_on(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: str,
    number: signal.Signals,
) -> None:
    before = signal.getsignal(number)
    send_in(monkeypatch, phase, number)
    with pytest.raises(Interrupted) as ended:
        pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    assert ended.value.code == 128 + number
    assert signal.getsignal(number) is before
    told = capsys.readouterr().err.splitlines()[-1]
    if phase == "data":
        assert told == f"interrupted by {number.name}: nothing had begun"
        assert not (tmp_path / "run").exists()
        return
    command = f"{this_program()} resume {tmp_path / 'run'}"
    kept = KEPT[phase]
    assert told == f"interrupted by {number.name}. Kept: {kept}. Continue with: {command}"
    ended_as = status(tmp_path / "run")
    assert (ended_as["state"], ended_as["error"]) == ("interrupted", f"interrupted by {number.name}")
    assert not list((tmp_path / "run").rglob("*.part"))


def test_a_signal_that_is_ignored_stays_ignored(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    send_in(monkeypatch, "train", signal.SIGHUP)
    pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert signal.signal(signal.SIGHUP, before) is signal.SIG_IGN
    assert status(tmp_path)["state"] == "finished"


def wait_long() -> None:
    time.sleep(60)


def ended_child() -> int:
    """Start a child and end it, as whoever limits the time of generated code does; return its exit code."""
    child = multiprocessing.get_context("fork").Process(target=wait_long)
    child.start()
    child.terminate()
    child.join(10)
    code = child.exitcode
    if code is None:
        child.kill()
    return -1000 if code is None else code


def pooled() -> list[int]:
    """Compute in other processes, which the end of the pool ends by SIGTERM."""
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(abs, [-1, -2])


def left_child() -> int:
    """Fork, and leave the child's work by `sys.exit`, which goes through all that the run has begun."""
    if (child := os.fork()) == 0:
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("phase", "work", "result"),
    [
        ("data", ended_child, -signal.SIGTERM),
        ("data", pooled, [1, 2]),
        ("train", ended_child, -signal.SIGTERM),
        ("train", pooled, [1, 2]),
        ("train", left_child, 1),
    ],
)
def test_a_child_that_a_plugin_forks_is_not_the_run(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    phase: str,
    work: Callable[[], object],
    result: object,
) -> None:
    name, _ = PHASES[phase]
    original, results, states = getattr(EchoModel, name), list[object](), list[str]()

    def called(*arguments: Any, **named: Any) -> Any:
        if not results:
            results.append(work())
            states.append(status(tmp_path)["state"] if phase == "train" else "running")
        return original(*arguments, **named)

    monkeypatch.setattr(EchoModel, name, called)
    pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert results == [result]
    assert (states, status(tmp_path)["state"]) == (["running"], "finished")
    assert "interrupted" not in "".join(capfd.readouterr())


HANGS_UP = """
import signal, time
from framework import testing
from framework.cli import main
from framework.testing import echo

def train(self, rows, validation, run):
    print("begun", flush=True)
    while not (error := run.interruption()):
        time.sleep(0.05)
    print("saved", flush=True)
    raise error

signal.signal(signal.SIGHUP, signal.SIG_DFL)
echo.EchoModel.train = train
testing.install()
main.main()
"""


def test_a_run_whose_terminal_is_closed_ends_as_by_any_signal(data_file: Path, tmp_path: Path) -> None:
    words = ["model=echo", "trainer=echo", "data=local_file", f"data.path={data_file}", "logger=[console]", "run_dir=x"]
    command = [MODULE[0], "-c", HANGS_UP, *words]
    with Terminal(command, cwd=tmp_path, env=environment(tmp_path), forks=forks()) as terminal:
        terminal.wait("begun")
        assert terminal.hang_up() == 129
    assert (status(tmp_path / "x")["state"], status(tmp_path / "x")["error"]) == (
        "interrupted",
        "interrupted by SIGHUP",
    )


def test_a_checkpoint_of_an_earlier_start_is_named(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A resumed run that is interrupted before its first step has lost nothing."""
    for _ in range(2):
        send_in(monkeypatch, "train", signal.SIGINT)
        with pytest.raises(Interrupted):
            pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
        (tmp_path / "run" / ".resume" / "step-00000002").mkdir(parents=True, exist_ok=True)
    assert "Kept: data, baseline, train up to its last checkpoint. Continue with: " in capsys.readouterr().err


class Listening(Logger):
    """Notes whether it was closed."""

    closed = False

    def log(self, event: Event) -> None:
        del event

    def close(self) -> None:
        self.closed = True


def test_trackers_are_closed(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = Listening()
    send_in(monkeypatch, "train", signal.SIGTERM)
    monkeypatch.setattr("framework_plugins.trackers.jsonl.Jsonl", lambda _: logger)
    with pytest.raises(Interrupted):
        pipeline.run(testing.plan([*words, "logger=[jsonl]"], run_dir=tmp_path))
    assert logger.closed


def test_a_training_that_asks_is_not_stopped_before_it_answers(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached: list[str] = []

    def train(_: EchoModel, rows: Any, validation: Any, run: Any) -> Any:
        del rows, validation
        assert run.interruption() is None
        os.kill(os.getpid(), signal.SIGTERM)
        reached.append("the end of the step")
        raise run.interruption()

    monkeypatch.setattr(EchoModel, "train", train)
    with pytest.raises(Interrupted):
        pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert reached == ["the end of the step"]


def test_a_signal_after_the_last_step_leaves_the_training_complete(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = EchoModel.train

    def train(model: EchoModel, rows: Any, validation: Any, run: Any) -> Any:
        run.interruption()
        result = original(model, rows, validation, run)
        os.kill(os.getpid(), signal.SIGTERM)
        return result

    monkeypatch.setattr(EchoModel, "train", train)
    with pytest.raises(Interrupted):
        pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert (tmp_path / "train.json").exists()
    assert status(tmp_path)["stage"] == "train"


BUSY = """
import os, signal, sys, time
from framework import testing
from framework.cli import main
from framework.testing import echo

def train(self, rows, validation, run):
    run.interruption()
    for number in map(int, os.environ["SENT"].split()):
        os.kill(os.getpid(), number)
    time.sleep(100)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
echo.EchoModel.train = train
testing.install()
main.main()
"""


@pytest.mark.parametrize(
    ("sent", "grace", "code"),
    [((signal.SIGTERM,), 0.3, 143), ((signal.SIGINT, signal.SIGINT), 100, 130)],
    ids=["the grace time is over", "Ctrl-C a second time"],
)
def test_a_run_that_does_not_end_is_ended(
    data_file: Path, tmp_path: Path, sent: tuple[int, ...], grace: float, code: int
) -> None:
    words = ["model=echo", "trainer=echo", "data=local_file", f"data.path={data_file}", "logger=[]", "run_dir=x"]
    start = time.monotonic()
    variables = {"SENT": " ".join(str(int(number)) for number in sent)}
    command = (MODULE[0], "-c", BUSY)
    done = launch(command, *words, f"grace_seconds={grace}", cwd=tmp_path, env=variables)
    assert done.code == code, done.err
    assert time.monotonic() - start < 60
    assert f"Continue with: {typed(tmp_path)} resume x" in done.err
    again = "; Ctrl-C again ends the run at once" if signal.SIGINT in sent else ""
    assert f"\nending after this step, within {grace:g} s{again}\n" in done.err
    assert (f"\nthe run did not stop within grace_seconds={grace:g}\n" in done.err) is (len(sent) == 1)
    assert status(tmp_path / "x")["state"] == "interrupted"
    assert not (tmp_path / "x" / ".lock").exists()


SCONTROL = """#!/bin/sh
echo "$@" >> "$0.calls"
[ "$1" = show ] && echo "JobId=7 JobName=x Requeue={requeue} Restarts=0 BatchFlag={batch} JobState={state} Reason=None"
exit 0
"""


@pytest.mark.parametrize(
    ("facts", "number", "again"),
    [
        ({}, signal.SIGTERM, True),
        ({}, signal.SIGUSR1, True),
        ({}, signal.SIGINT, False),
        ({"state": "CANCELLED"}, signal.SIGTERM, False),
        ({"requeue": "0"}, signal.SIGTERM, False),
        ({"batch": "0"}, signal.SIGTERM, False),
    ],
)
def test_slurm_gets_the_job_back_where_it_was_slurm_who_ended_it(
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    facts: dict[str, str],
    number: signal.Signals,
    *,
    again: bool,
) -> None:
    script = tmp_path / "scontrol"
    script.write_text(SCONTROL.format(**{"requeue": "1", "batch": "1", "state": "RUNNING", **facts}), encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    send_in(monkeypatch, "train", number)
    with pytest.raises(Interrupted):
        pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    calls = tmp_path / "scontrol.calls"
    assert ("requeue 7" in (calls.read_text(encoding="utf-8") if calls.exists() else "")) is again
    assert ("Slurm has put job 7 back into the queue" in capsys.readouterr().err) is again


def test_a_task_of_an_array_goes_back_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "scontrol"
    script.write_text(SCONTROL.format(requeue="1", batch="1", state="RUNNING"), encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in (("JOB_ID", "9"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "3")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert interruption.requeue() == "7_3"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")  # torchrun sends the same signal if a process fails
    assert interruption.requeue() == ""


def test_outside_of_slurm_nothing_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert interruption.requeue() == ""
