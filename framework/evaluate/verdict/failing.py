"""Whether a verdict says what `verdict.fail_on` names."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api.records import Aspect, Outcome, Report
from framework.api.schema import FailOn


def named_by(report: Report, fail_on: Sequence[FailOn]) -> list[str]:
    """Return which of `fail_on` the verdict of a report says."""
    verdict, changes = report.verdict, report.metrics.values()
    if verdict is None:
        return []
    said = {
        FailOn.worse: any(one.aspect is Aspect.task and one.outcome is Outcome.worse for one in changes),
        FailOn.forgot: verdict.forgot is True,
        FailOn.copied: verdict.copied is True,
    }
    return [each.value for each in fail_on if said[each]]
