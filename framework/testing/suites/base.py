"""What all suites share: the option under test, a plan with it, and rows to run it on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from framework.api.component import GROUPS
from framework.api.plan import Plan
from framework.api.selection import Selection
from framework.testing.echo import plan

Rows = Sequence[Mapping[str, Any]]
ROWS: Rows = [{"instruction": f"say {number}", "input": "", "output": f"it is {number}"} for number in range(12)]
"""Alpaca rows, all different."""


def expect(condition: object, problem: str) -> None:
    """Fail the test with `problem` if the condition does not hold.

    Raises:
        AssertionError: it does not.
    """
    if not condition:
        raise AssertionError(problem)


def data_words(folder: Path, rows: Rows) -> list[str]:
    """Write rows into a file below `folder` and return the overrides that train on them and ask them again."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    paths = [f"data.{name}='{file}'" for name in ("path", "validation_path", "prompts_path")]
    return ["data=local_file", *paths]


class Suite:
    """A suite for one option.

    Attributes:
        option: the name that a user writes, `metric=[NAME]`.
        overrides: of every plan of the suite: settings of the option, or the model and
            the trainer of its runs.
        beside: other options of its group that it needs in the same run.
    """

    group: ClassVar[str]
    option: ClassVar[str]
    overrides: ClassVar[Sequence[str]] = ()
    beside: ClassVar[Sequence[str]] = ()

    def plan(self, folder: Path, *more: str, rows: Rows = ROWS) -> Plan:
        """Plan a run of the option in `folder/run`, trained on `rows` and asked the same rows."""
        chosen = f"[{','.join([*self.beside, self.option])}]" if GROUPS[self.group].several else self.option
        words = [*data_words(folder / "data", rows), "exporter=[]", f"{self.group}={chosen}", *self.overrides, *more]
        return plan(words, run_dir=folder / "run")

    def choice(self, folder: Path) -> Selection:
        """Return the option as the plan holds it: its component and its settings."""
        selection = getattr(self.plan(folder), self.group)
        chosen: Selection = selection[self.option] if GROUPS[self.group].several else selection
        return chosen

    def create(self, folder: Path) -> Any:
        """Return what the option's factory makes of its settings."""
        return self.choice(folder).create()


def files(folder: Path) -> Iterable[Path]:
    """Return all files below a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())
