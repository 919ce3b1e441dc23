"""`logger=html`: one self-contained page in the run folder, from the data stage on.

It is written after the data stage, once a minute during the training, and when the run ends in whatever way. It loads
nothing from elsewhere and runs no script; every text in it is escaped.
"""

from __future__ import annotations

import json
import shlex
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from framework import Plan, Stage
from framework.api import (
    EvalResult,
    Event,
    Forecast,
    ForecastUpdated,
    IssueFound,
    Logger,
    PrunedError,
    Report,
    RunFailed,
    RunFinished,
    RunFolder,
    RunStarted,
    StageFinished,
    Step,
    TrainingStep,
    display_run,
    redact,
    summarize_error,
    write_atomically,
)
from framework_plugins.report.config import HtmlConfig

if TYPE_CHECKING:
    from framework_plugins.report.page import Run

PAGE_FILE, LOG_FILE = "report.html", "log.jsonl"
SECONDS_BETWEEN_PAGES = 60.0
"""Seconds between two pages during a training."""


class Html(Logger):
    """The page of one run."""

    def __init__(self, config: HtmlConfig) -> None:
        self.config = config
        self.run: Run | None = None
        self.expected: Forecast | None = None
        self.file = Path(PAGE_FILE)
        self.written = 0.0
        self.waits = False

    def log(self, event: Event) -> None:
        """Keep the event for the page, and write the page at the start, during the training and at the end."""
        match event:
            case ForecastUpdated(forecast):
                self.expected = forecast  # the last one knows most
            case RunStarted(plan, data, hardware):
                from framework_plugins.report.page import Run  # noqa: PLC0415 - Jinja, which a plan alone need not load

                self.file = plan.run_dir / PAGE_FILE
                # The page of a finished run stays until the exports are in its report.
                self.waits = plan.only_exports and RunFolder(plan.run_dir).file(Stage.report.value).exists()
                self.run = Run(plan, data, dict(redact(dict(hardware))), expected=self.expected)
                if Stage.train not in plan.stages:
                    self.run.steps = logged_steps(plan)
                self._write()
            case _ if self.run:
                self._add_event(self.run, event)

    def _add_event(self, run: Run, event: Event) -> None:
        match event:
            case TrainingStep(step):
                run.steps.append(step)
                if time.monotonic() - self.written >= SECONDS_BETWEEN_PAGES:
                    self._write()
            case IssueFound(issue):
                run.issues.append(issue)
            case StageFinished(stage, EvalResult() as result):
                run.tables = result.tables if stage is Stage.evaluate else run.tables
                run.notes += [note for note in result.notes if note not in run.notes]
            case RunFinished(Report() as report, samples):
                run.report = report
                run.samples = list(samples)
                self._write()
            case RunFailed(error):
                run.ended, reason = _end_state(error, run.plan)
                run.error = str(redact(reason))
                self._write()

    def _write(self) -> None:
        """Write the page atomically."""
        from framework_plugins.report.page import render  # noqa: PLC0415 - as above

        if self.run and (self.run.report or not self.waits):
            self.written = time.monotonic()
            write_atomically(self.file, render(self.run, self.config.samples), errors="replace")

    def close(self) -> None:
        self.run = None


def logged_steps(plan: Plan) -> list[Step]:
    """Return the steps of an earlier call of this training, if `logger=jsonl` wrote them."""
    return read_steps(plan.run_dir / (plan.logger["jsonl"].config.file if "jsonl" in plan.logger else LOG_FILE))


def read_steps(file: Path) -> list[Step]:
    """Return the steps in a file of `logger=jsonl`, without lines that cannot be read."""
    steps: list[Step] = []
    with suppress(OSError, ValueError, TypeError, KeyError), file.open(encoding="utf-8") as lines:
        for entry in map(json.loads, lines):
            if entry.pop("event") == "step":
                step = Step(**entry)
                if steps and step.step < steps[-1].step:  # each start sends all steps
                    steps.clear()
                steps.append(step)
    return steps


def _end_state(error: BaseException, plan: Plan) -> tuple[str, str]:
    """Return the end of a run in a word, and the reason."""
    if isinstance(error, PrunedError):
        return "pruned by its sweep", str(error)
    if isinstance(error, KeyboardInterrupt):
        folder = plan.run_dir.parent if plan.sweep else plan.run_dir  # a sweep continues with all of its trials
        command = shlex.join(["python", "-m", "framework", "resume", display_run(folder)])
        return "interrupted", f"{str(error) or 'interrupted'}. Continue with: {command}"
    return "failed", summarize_error(error)
