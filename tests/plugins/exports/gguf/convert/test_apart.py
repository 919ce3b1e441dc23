"""What happens in the other process stays there, and its last output is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.convert import apart

FUNCTIONS = """
import os, signal
from framework import FrameworkError
def write(file, text): print("a lot"); open(file, "w").write(text)
def refuse(): raise FrameworkError("take\\nanother")
def fail(): print("so far so good"); raise KeyError("rope")
def die(): os.kill(os.getpid(), signal.SIGABRT)
"""


@pytest.fixture(autouse=True, scope="module")
def copies() -> None:
    """Let true processes do it."""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the log; the functions above can be imported there."""
    (tmp_path / "acme_jobs.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "the.log"


def test_a_function_is_called_there_and_what_it_prints_is_dropped(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    apart.run("writing", "acme_jobs:write", log, file=str(log.with_name("new")), text="…")
    assert log.with_name("new").read_text(encoding="utf-8") == "…"
    assert not log.exists()
    assert capfd.readouterr() == ("", "")


def test_a_users_mistake_comes_through_as_it_is(log: Path) -> None:
    with pytest.raises(FrameworkError, match=r"^take\nanother$"):
        apart.run("writing", "acme_jobs:refuse", log)
    assert not log.exists()


def test_another_error_is_reported_with_the_place_of_the_log(log: Path) -> None:
    told = r"writing failed: KeyError: 'rope' \(.*acme_jobs\.py:6\) \(full output: .*the\.log\)"
    with pytest.raises(FrameworkError, match=told):
        apart.run("writing", "acme_jobs:fail", log)
    said = log.read_text(encoding="utf-8")
    assert "so far so good" in said
    assert "Traceback" in said


def test_a_process_that_is_killed_costs_an_error_and_no_more(log: Path) -> None:
    with pytest.raises(
        FrameworkError, match=r"writing failed: its Python process was killed by signal 6 \(SIGABRT\) \(full output"
    ):
        apart.run("writing", "acme_jobs:die", log)
