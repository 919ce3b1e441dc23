"""`logger=html`: one self-contained page in the run folder, from the data stage on.

It is written after the data stage, and again when the run has finished or failed. It loads nothing from
elsewhere and runs no script; every text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from framework.api.errors import PrunedError
from framework.api.files import write_whole
from framework.api.plan import Plan
from framework.api.protocols import Logger
from framework.api.records import DataResult, EvalResult, Forecast, Report, Sample, Step, Trouble
from framework.api.text import one_line, redact
from framework_plugins.report.config import HtmlConfig

if TYPE_CHECKING:
    from framework_plugins.report.page import Run

FILE = "report.html"


class Html(Logger):
    """The page of one run."""

    def __init__(self, config: HtmlConfig) -> None:
        self.config = config
        self.plan: Plan | None = None
        self.run: Run | None = None
        self.expected: Forecast | None = None
        self.file = Path(FILE)

    def planned(self, plan: Plan) -> None:
        """Keep the plan."""
        self.plan = plan

    def forecast(self, forecast: Forecast) -> None:
        """Keep what the run will need; the last one knows most."""
        self.expected = forecast

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Write the page with the results of the data stage."""
        from framework_plugins.report.page import Run  # noqa: PLC0415 - Jinja, which a plan alone need not load

        if self.plan is None:
            message = "planned comes before started"
            raise RuntimeError(message)
        self.file = run_dir / FILE
        self.run = Run(self.plan, data, dict(redact(dict(facts))), expected=self.expected)
        self._write()

    def step(self, step: Step) -> None:
        """Keep the loss for the curve."""
        if self.run:
            self.run.steps.append(step)

    def trouble(self, trouble: Trouble) -> None:
        """Keep it for the page."""
        if self.run:
            self.run.troubles.append(trouble)

    def evaluated(self, result: EvalResult, *, before: bool) -> None:  # noqa: ARG002 - the protocol's signature
        """Keep what could not be measured."""
        if self.run:
            self.run.notes += [note for note in result.notes if note not in self.run.notes]

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Write the whole page."""
        if self.run:
            self.run.report = report
            self.run.samples = list(samples)
            self._write()

    def failed(self, error: BaseException) -> None:
        """Say on the page what ended the run."""
        if self.run:
            pruned = isinstance(error, PrunedError)
            self.run.error = str(redact(str(error) if pruned else one_line(error)))
            self.run.ended = "pruned by its sweep" if pruned else "failed"
            self._write()

    def _write(self) -> None:
        """Put the page in place, whole or not at all."""
        from framework_plugins.report.page import render  # noqa: PLC0415 - as above

        if self.run:
            write_whole(self.file, render(self.run, self.config.samples), errors="replace")

    def close(self) -> None:
        """Forget the run."""
        self.run = None
