"""`DiagnosticProcess`: what crashes, hangs or prints in another process costs one answer."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from framework import testing
from framework.api.diagnostic import DiagnosticResult, State
from framework_plugins.doctor.worker import DiagnosticProcess

ACTS = "doctor_acts"


@pytest.fixture(scope="module")
def worker() -> Iterator[DiagnosticProcess]:
    with DiagnosticProcess() as started:
        yield started


def ask(worker: DiagnosticProcess, name: str, seconds: float = 60) -> DiagnosticResult | None:
    return worker.ask(f"{ACTS}:{name}", None, seconds=seconds)


def test_what_a_check_finds_comes_back(worker: DiagnosticProcess, tmp_path: Path) -> None:
    assert ask(worker, "well") == DiagnosticResult(State.ok, "no plan", "1.2", "nothing")
    assert ask(worker, "nothing") is None
    plan = testing.plan(["name=mine"], run_dir=tmp_path)
    assert worker.ask(f"{ACTS}:well", plan, seconds=60) == DiagnosticResult(State.ok, "mine", "1.2", "nothing")


@pytest.mark.parametrize(
    ("name", "state", "detail"),
    [
        ("raises", State.broken, "RuntimeError: no anvil for (hi"),
        ("refuses", State.broken, "acme.anvil=1 is too light: set 2"),
        ("lacks", State.missing, "ModuleNotFoundError: no message"),
        ("leaves_python", State.broken, "SystemExit: unsupported"),
        ("wrong", State.broken, f"{ACTS}:wrong returns a str, not a DiagnosticResult"),
        ("not_there", State.broken, f"AttributeError: module '{ACTS}' has no attribute 'not_there'"),
    ],
)
def test_what_a_check_raises_is_reported_in_one_line(
    worker: DiagnosticProcess, name: str, state: State, detail: str
) -> None:
    found = ask(worker, name)
    assert found is not None
    assert (found.state, found.detail[: len(detail)]) == (state, detail)
    assert "\n" not in found.detail


def test_what_is_printed_is_no_answer(worker: DiagnosticProcess) -> None:
    assert ask(worker, "noisy") == DiagnosticResult(State.ok)


def test_checks_of_one_worker_share_a_process(worker: DiagnosticProcess) -> None:
    assert ask(worker, "process") == ask(worker, "process")


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("crash", "its Python process was killed by signal 11 (SIGSEGV): about to crash"),
        ("leave", "its Python process exited with code 7"),
    ],
)
def test_a_crash_costs_one_answer(worker: DiagnosticProcess, name: str, detail: str) -> None:
    before = ask(worker, "process")
    assert ask(worker, name) == DiagnosticResult(State.broken, detail)
    after = ask(worker, "process")
    assert after is not None
    assert after.state is State.ok
    assert after != before


def test_what_hangs_is_ended_with_its_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tmp_path / "ids"
    monkeypatch.setenv("HANGS", str(ids))
    with DiagnosticProcess() as worker:
        assert ask(worker, "well") is not None
        assert ask(worker, "hang", seconds=2) == DiagnosticResult(State.unknown, "no answer within 2 s (slow)")
        assert ask(worker, "well") is not None
    wait_until(lambda: not any(map(psutil.pid_exists, map(int, ids.read_text().split()))))


PARENT = """
import os
from framework_plugins.doctor.worker import DiagnosticProcess
worker = DiagnosticProcess()
print(worker.ask("doctor_acts:process", None, seconds=60).detail, flush=True)
worker.ask("doctor_acts:hang", None, seconds=60)
"""


def test_a_check_that_hangs_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    env = {**os.environ, "HANGS": str(tmp_path / "ids"), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", PARENT], env=env, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        wait_until((tmp_path / "ids").exists)
        parent.kill()
    wait_until(lambda: not psutil.pid_exists(child))
    psutil.Process(int((tmp_path / "ids").read_text().split()[1])).kill()  # what the check itself has started


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_cannot_be_handed_over_is_unknown(worker: DiagnosticProcess) -> None:
    found = worker.ask(f"{ACTS}:well", lambda: None, seconds=1)
    assert found is not None
    assert found.state is State.unknown
    assert found.detail.startswith("its arguments cannot be passed to another process: ")


def test_a_plugin_file_is_loaded_there(tmp_path: Path) -> None:
    file = tmp_path / "mine_of_doctor.py"
    text = "from framework import hookimpl\nfrom framework.api import DiagnosticResult, State\n"
    text += "@hookimpl\ndef framework_diagnostics(): return []\n"
    file.write_text(text + "def check(plan): return DiagnosticResult(State.ok, __file__)\n", encoding="utf-8")
    with DiagnosticProcess([str(file)]) as worker:
        assert worker.ask("mine_of_doctor:check", None, seconds=60) == DiagnosticResult(State.ok, str(file))


def test_a_plugin_file_that_cannot_be_loaded_there_is_reported(tmp_path: Path) -> None:
    with DiagnosticProcess([str(tmp_path / "gone.py")]) as worker:
        found = ask(worker, "well")
    assert found is not None
    assert (found.state, "there is no such Python file" in found.detail) == (State.broken, True)
