"""What is told of each step of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from framework.api.plan import Plan
    from framework.api.records import DataResult, EvalResult, Forecast, Report, Sample, Step, Trouble


class Logger:
    """An option of `logger=`. Subclass it and override what is of interest: the methods do nothing by themselves.

    A logger that raises is switched off with a warning; it never ends a run.
    """

    def planned(self, plan: Plan) -> None:
        """Take note of the plan. Nothing has been written yet, and the data may still be refused."""

    def forecast(self, forecast: Forecast) -> None:
        """Take what the run will need; it comes after the plan, and again with the rows that the data stage found."""

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Open files or connections: everything has been checked and the run folder exists."""

    def stage_started(self, stage: str) -> None:
        """Take note that a stage begins."""

    def step(self, step: Step) -> None:
        """Take one entry of the training; one that is told again has a validation now."""

    def trouble(self, trouble: Trouble) -> None:
        """Take what goes wrong in the training, after the step at which it was seen, or after the evaluation."""

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Take the result of the baseline (`before`) or of the evaluation after training."""

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Take the report and the samples, (before, after) for each prompt."""

    def failed(self, error: BaseException) -> None:
        """Take note that the run ended with `error`."""

    def close(self) -> None:
        """Close what is open: the run is over, with a report, with an error, or after a part of its stages."""
