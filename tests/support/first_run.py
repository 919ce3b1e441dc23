"""What the terminal shows of a finished run at 80 columns, and the excerpts of docs/tutorial/first-run.md from it.

    python -m tests.support.first_run RUN_DIR [--page]

RUN_DIR is the folder of a quickstart, below the working folder. `--page` writes its lines into the page.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console as Terminal

from framework import Plan, Stage, testing
from framework.api import records
from framework.api.events import (
    Event,
    ForecastUpdated,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageFinished,
    StageStarted,
)
from framework.api.records import DataResult, EvalResult, ExportResult, Forecast, Report
from framework.plan.make import make_plan
from framework.run.report import pair
from framework_plugins.trackers.config import ConsoleConfig
from framework_plugins.trackers.console import Console

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "first-run.md"
COLUMNS = 80
OTHERS = ("from ", "model ", "tokenizer ")
"""Beginnings of lines of the example in Python, and of the model, which the run looks up."""


def plan_of(run_dir: Path) -> Plan:
    """Return the plan of a finished run."""
    words = json.loads((run_dir / "overrides.json").read_text(encoding="utf-8"))
    return make_plan(testing.compose(words), run_dir=run_dir, overrides=tuple(words))


def events(run_dir: Path) -> Iterator[Event]:
    """Give what a run has sent to its loggers, without the progress."""
    plan, report = plan_of(run_dir), records.load(Report, run_dir / "report.json")
    data = records.load(DataResult, run_dir / "data.json")
    before, after = (records.load(EvalResult, run_dir / f"{name}.json") for name in ("baseline", "evaluate"))
    yield RunPlanned(plan)
    yield ForecastUpdated(records.load(Forecast, run_dir / "forecast.json"))
    yield StageStarted(Stage.data)
    yield RunStarted(plan, data, report.hardware)
    for stage, result in ((Stage.baseline, before), (Stage.train, report.train), (Stage.evaluate, after)):
        yield StageStarted(stage)
        yield StageFinished(stage, result, 1.0)
    yield StageStarted(Stage.export)
    yield StageFinished(Stage.export, records.load(ExportResult, run_dir / "export.json"), 1.0)
    yield RunFinished(report, pair(before, after))


def printed(run_dir: Path) -> list[str]:
    """Return the lines of a terminal with 80 columns; the bar of the training is one more."""
    console = Console(ConsoleConfig())
    console.out = Terminal(file=io.StringIO(), force_terminal=True, width=COLUMNS, color_system=None, highlight=False)
    lines: list[str] = []
    for event in events(run_dir):
        console.log(event)
    assert isinstance(console.out.file, io.StringIO)
    for line in console.out.file.getvalue().splitlines():
        # A terminal breaks what is printed in one line.
        lines += [line[at : at + COLUMNS].rstrip() for at in range(0, max(1, len(line.rstrip())), COLUMNS)]
    return lines


def shape(line: str) -> str:
    """Return a line without what differs from one run to another: numbers and places."""
    line = re.sub(r"\S*quickstart/[\d_-]+", "FOLDER", line)
    return " ".join(re.sub(r"[\d.,]*\d", "0", line).split())


def excerpts(page: str) -> list[str]:
    """Return the lines of a run that the page shows."""
    blocks = re.findall(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip() not in {"", "…"}]


def missing(page: str, lines: Sequence[str]) -> list[str]:
    """Return the lines of the page of which a run prints nothing of the same form."""
    shapes = {shape(line) for line in lines}
    return [line for line in excerpts(page) if shape(line) not in shapes and not line.startswith(OTHERS)]


def renewed(page: str, lines: Sequence[str]) -> str:
    """Return the page with the numbers of a run."""
    by_shape = {shape(line): line for line in reversed(lines)}
    shown = {*excerpts(page)}
    return "\n".join(by_shape.get(shape(line), line) if line in shown else line for line in page.split("\n"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the run; with `--page`, renew the page, and fail if it has a line that the run does not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--page", action="store_true")
    asked = parser.parse_args(arguments)
    lines = printed(asked.run_dir)
    if not asked.page:
        sys.stdout.write("\n".join([*lines, ""]))
        return 0
    page = PAGE.read_text(encoding="utf-8")
    gone = missing(page, lines)
    sys.stdout.write("".join(f"no such line: {line}\n" for line in gone))
    PAGE.write_text(renewed(page, lines), encoding="utf-8")
    return bool(gone)


if __name__ == "__main__":
    sys.exit(main())
