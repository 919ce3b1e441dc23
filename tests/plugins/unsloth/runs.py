"""Runs of the program for the tests marked `unsloth`: on a tiny model or SmolLM2, and what they leave."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from framework.api.records import IGNORE, TokenRow
from tests.support.forked_program import MODULE, forked, trainers
from tests.support.forks import STARTS, Forks
from tests.support.network import watched
from tests.support.program import environment, framework

BARE = ("evaluator=[]", "exporter=[]", "logger=[jsonl]")
"""A training and its validation loss, nothing else."""
PREPARED = """
from framework_plugins.unsloth.import_unsloth import configure_unsloth

configure_unsloth()  # a copy has the variables of the call, not those that the import has set
from framework.cli.main import main

main()
"""
SPY = """
import json, os, sys
from pathlib import Path
from framework import hookimpl

@hookimpl
def framework_run_finished(plan, report):
    told = {"trainer": plan.trainer.component.name, "pid": os.getpid(), "unsloth": "unsloth" in sys.modules}
    with Path(plan.run_dir, "spy.json").open("w") as stream:
        json.dump(told, stream)
"""
"""A plugin that notes the process of each run, and whether Unsloth was imported there."""
CASES = (
    ("llama", False, "tree", "fp32"),
    ("llama", True, "tree", "fp32"),
    ("llama", True, "pad", "fp32"),
    ("mistral", True, "tree", "fp32"),
    ("qwen3", True, "tree", "fp32"),
    ("llama", True, "tree", "bf16"),
)
"""Models for the code for a GPU, whether with xformers, `trainer.packing`, `trainer.dtype`: in bf16 LoRA is fused."""
PLACE, LENGTHS = 12, (40, 30)
"""Which token of the first of two rows is replaced by another one, and how long the rows are."""


@dataclass(frozen=True)
class Done:
    """What a run left: its folder, its exit code, what it printed, and a file if it asked for a host."""

    folder: Path
    code: int
    out: str
    err: str
    asked: Path

    @cached_property
    def report(self) -> dict[str, Any]:
        """The report."""
        found: dict[str, Any] = json.loads((self.folder / "report.json").read_text(encoding="utf-8"))
        return found

    @property
    def steps(self) -> list[dict[str, Any]]:
        """The log entries of the training."""
        lines = (self.folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == "step"]


def run(place: Path, *words: str, name: str = "run", **more: str) -> Done:
    """Run the program in a folder of its own below `place`, which stays empty but for the run's folder."""
    cwd = place / "work"
    cwd.mkdir(exist_ok=True, parents=True)
    env, asked = watched(place)
    done = framework(*words, f"run_dir={name}", cwd=cwd, env={**env, **more}, timeout=540)
    return Done(cwd / name, done.returncode, done.stdout, done.stderr, asked)


@functools.cache
def importers() -> Forks:
    """Return a Python that has imported Unsloth, which takes longer than most trainings of these tests."""
    first = ("framework_plugins.unsloth.import_unsloth", "framework_plugins.unsloth.backend")
    return Forks(environment(Path("/nowhere"), HF_HUB_OFFLINE="1"), *first, *STARTS)


def copied(place: Path, trainer: str, *words: str, name: str = "run") -> Done:
    """Do the same by a copy of a Python that has imported the libraries; nothing records which hosts it asks for."""
    cwd = place / "work"
    cwd.mkdir(exist_ok=True, parents=True)
    python, start = (importers(), ("-c", PREPARED)) if trainer == "unsloth" else (trainers(), MODULE[1:])
    command = [*start, *words, f"trainer={trainer}", f"run_dir={name}"]
    done = forked(python, command, cwd, environment(place), timeout=540)
    return Done(cwd / name, done.code, done.out, done.err, place / "asked.txt")


def tiny(base: Path, rows: Path) -> tuple[str, ...]:
    """Return the words for a few steps with a tiny model."""
    return (
        "model=local", f"model.path={json.dumps(str(base))}", "data=local_file", f"data.path={json.dumps(str(rows))}",
        "trainer.max_steps=3", "trainer.warmup_steps=1", "trainer.learning_rate=0.01", *BARE,
    )  # fmt: skip


def rows(changed: int = 0, learned: int = 10**6) -> list[TokenRow]:
    """Return two rows, of which the tokens below a place are learned."""
    result = []
    for row, length in enumerate(LENGTHS):
        ids = [4 + (place * place + 31 * row) % 50 for place in range(length)]
        if not row:
            ids[PLACE] += changed
        result.append(TokenRow(ids, [token if place < learned else IGNORE for place, token in enumerate(ids)]))
    return result
