"""The outcome of a trial, as reported to its study."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from framework import FrameworkError
from framework.api import RunFolder, summarize_error


@dataclass(frozen=True)
class Outcome:
    """The objective; or that the trial was pruned, or too large to start; or the error that it failed with."""

    value: float | None = None
    given_up: bool = False
    reason: str = ""
    error: Exception | None = None


def make_outcome(run: Path, result: JobReturn | None, launcher_error: Exception | None, *, maximize: bool) -> Outcome:
    """Return the outcome of a trial.

    Args:
        run: its folder.
        result: what the launcher gave; None if it lost the process.
        launcher_error: what the launcher raised then.
        maximize: whether the study looks for the highest objective.
    """
    folder = RunFolder(run)
    if folder.is_given_up:
        return Outcome(given_up=True, reason=folder.status()["error"] or "")
    if result is not None and result.status is JobStatus.FAILED:
        error = result._return_value  # noqa: SLF001 - the property prints, and raises
        return Outcome(reason=summarize_error(error), error=error)
    value = folder.objective if result is None or result.return_value is None else result.return_value
    if result is None and not folder.is_complete:
        error = launcher_error or FrameworkError("the launcher gave no result")
        return Outcome(reason=summarize_error(error), error=error)
    name, higher = folder.aim or ("", maximize)
    if higher is not maximize:
        error = FrameworkError(
            f"{run}: the objective is {name}, of which {'higher' if higher else 'lower'} is better, but the study goes "
            f"the other way: set objective={name} and another hydra.sweep.dir or hydra.sweeper.study_name"
        )
        return Outcome(reason=str(error), error=error)
    if value is None or not math.isfinite(value):
        error = FrameworkError(f"{run}: the objective is {'missing' if value is None else value}")
        return Outcome(reason=str(error), error=error)
    return Outcome(value)
