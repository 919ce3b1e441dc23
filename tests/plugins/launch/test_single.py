"""`launch=single`: here, and in a process of its own where this one has imported what the run cannot have."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from framework import testing
from framework.api import records
from framework.api.protocols import Launcher
from framework.api.records import Report
from tests.support.forked_program import program

PLUGIN = """
import os
from contextlib import contextmanager
from dataclasses import dataclass

from framework import Component, hookimpl
from framework.testing.echo import EchoBackend, EchoModelConfig, EchoTrainerConfig


@dataclass
class FirstConfig(EchoTrainerConfig):
    '''The echo backend of a library that has to be imported before json.'''


class First(EchoBackend):
    @contextmanager
    def open(self, plan):
        with super().open(plan) as model:
            model.facts = {"device": "none", "parent": str(os.getppid())}
            yield model


@hookimpl
def framework_components():
    yield Component("echo", EchoModelConfig, "framework.testing.echo:EchoSource")
    yield Component("first", FirstConfig, "wants_first:First", import_order=("acme_first", "json"))
"""
WORDS = (
    "plugins=[./wants_first.py]", "model=echo", "trainer=first", "data=local_file", "data.path=rows.jsonl", "logger=[]",
    "run_dir=run",
)  # fmt: skip


def test_a_run_that_can_happen_here_does(data_file: Path, tmp_path: Path) -> None:
    plan = testing.plan(["data=local_file", f"data.path={data_file}"], run_dir=tmp_path / "run")
    launcher: Launcher = plan.launch.create()
    assert launcher.launch(plan) == records.load(Report, tmp_path / "run" / "report.json")


def test_one_that_cannot_says_so_and_goes_on_in_a_process_of_its_own(data_file: Path, tmp_path: Path) -> None:
    shutil.copy(data_file, tmp_path / "rows.jsonl")
    (tmp_path / "wants_first.py").write_text(PLUGIN, encoding="utf-8")
    done = program(*WORDS, cwd=tmp_path)
    told = "trainer=first needs acme_first imported before json, which this process has imported already"
    assert (done.code, done.err) == (0, f"{told}: the run continues in a new process\n")
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert int(report["hardware"]["parent"]) != os.getpid()


def test_what_a_file_registers_is_not_imported_before_the_file(data_file: Path, tmp_path: Path) -> None:
    """The child would else hold the plugin twice."""
    shutil.copy(data_file, tmp_path / "rows.jsonl")
    (tmp_path / "wants_first.py").write_text(f"print('read')\n{PLUGIN}", encoding="utf-8")
    done = program(*WORDS, cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.count("read") == 2  # here, and in the child
