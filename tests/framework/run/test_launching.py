"""A launcher of somebody else that ends Python, or returns what is no report."""

from __future__ import annotations

from pathlib import Path

import pytest

import framework
from framework import FrameworkError
from tests.support.project import Project, project

LAUNCHER = """
import asyncio, sys
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.api.program import LaunchConfig

@dataclass
class OddConfig(LaunchConfig):
    '''Odd.'''

class Odd:
    def __init__(self, config):
        pass

    def launch(self, plan):
        CODE

@hookimpl
def framework_components():
    yield Component("odd", OddConfig, "odd:Odd")
"""
WORDS = ["data=local_file", "data.path=rows.jsonl", "plugins=[./odd.py]", "launch=odd", "run_dir=run"]


def odd(folder: Path, code: str) -> Project:
    rows = "".join(f'{{"instruction": "{n}?", "output": "{n}"}}\n' for n in range(8))
    return project(folder, {"rows.jsonl": rows, "odd.py": LAUNCHER.replace("CODE", code)})


@pytest.mark.parametrize(
    ("code", "exit_code", "told"),
    [
        ("sys.exit(0)", 2, "a part of the run ends Python: SystemExit: 0 ("),
        ("sys.exit('no room')", 2, "a part of the run ends Python: SystemExit: no room ("),
        ("sys.exit(7)", 7, ""),
        ("raise asyncio.CancelledError('gone')", 2, "a part of the run ends Python: CancelledError: gone ("),
        ("return 'done'", 2, "launch=odd returned 'done': return a Report or None"),
        ("return None", 0, ""),
    ],
)
def test_what_a_launcher_does_is_told_in_a_line(tmp_path: Path, code: str, exit_code: int, told: str) -> None:
    done = odd(tmp_path, code).echo(*WORDS)
    assert done.code == exit_code, done.err
    assert done.err.startswith(told)
    assert len(done.err.splitlines()) == bool(told)


def test_python_is_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(odd(tmp_path, "sys.exit(0)").folder)
    with pytest.raises(FrameworkError, match="a part of the run ends Python: SystemExit: 0"):
        framework.train([*WORDS, "model=echo", "trainer=echo"])
