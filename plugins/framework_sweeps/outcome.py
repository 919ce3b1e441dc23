"""What became of a point, as its study is told."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus

from framework.errors import FrameworkError, one_line
from framework.journal import PASSED_OVER, PRUNED, STATUS
from framework.sweep import is_through, value_of


@dataclass(frozen=True)
class Outcome:
    """The objective; or that the point was given up, pruned or too large to start; or the error that it failed with."""

    value: float | None = None
    given_up: bool = False
    reason: str = ""
    error: Exception | None = None


def outcome(run: Path, result: JobReturn | None, lost: Exception | None) -> Outcome:
    """Return what became of a point.

    Args:
        run: its folder.
        result: what the launcher gave; None where it lost the process.
        lost: what the launcher raised then.
    """
    file = run / STATUS
    status = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if status.get("state") in {PRUNED, PASSED_OVER}:
        return Outcome(given_up=True, reason=status["error"] or "")
    if result is not None and result.status is JobStatus.FAILED:
        error = result._return_value  # noqa: SLF001 - the property prints, and raises
        return Outcome(reason=one_line(error), error=error)
    value = value_of(run) if result is None or result.return_value is None else result.return_value
    if result is None and not is_through(run):
        error = lost or FrameworkError("the launcher gave no result")
        return Outcome(reason=one_line(error), error=error)
    if value is None or not math.isfinite(value):
        error = FrameworkError(f"{run}: the objective is {'missing' if value is None else value}")
        return Outcome(reason=str(error), error=error)
    return Outcome(value)
