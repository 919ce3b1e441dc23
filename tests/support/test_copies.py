"""A copy answers, fails and ends as a process that was started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError
from framework.api import PythonProcess
from tests.support.copies import in_place_of_processes

FUNCTIONS = """
import os, signal, sys, time
from framework import FrameworkError
def place(): return os.getcwd(), os.environ["MINE"], sys.argv[0], sys.path[0]
def refuse(): raise FrameworkError("take another")
def fail(): raise KeyError("rope")
def leave(): print("so far"); sys.exit(7)
def die(): print("about to", flush=True); os.kill(os.getpid(), signal.SIGABRT)
def hang(): time.sleep(600)
"""


def outcome(process: PythonProcess, name: str) -> Any:
    try:
        return process.call(f"acme_copied:{name}", seconds=1 if name == "hang" else 60)
    except FrameworkError as error:
        return type(error), str(error)


def test_a_copy_gives_what_a_start_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_copied.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ("place", "refuse", "fail", "leave", "place", "die", "hang", "place")
    with PythonProcess(env={"MINE": "x"}) as process:
        started = [outcome(process, name) for name in names]
    with in_place_of_processes(), PythonProcess(env={"MINE": "x"}) as process:
        assert [outcome(process, name) for name in names] == started
