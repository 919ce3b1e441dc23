"""Whether a verdict says what `verdict.fail_on` names, or cannot, because nothing measured it."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api.records import Aspect, Outcome, Report, Tone
from framework.api.schema import FailOn

ASPECTS = {
    FailOn.worse: Aspect.task, FailOn.undecided: Aspect.task, FailOn.forgot: Aspect.general,
    FailOn.copied: Aspect.copying,
}  # fmt: skip
"""What has to be measured, before and after, for each of them."""


def named_by(report: Report, fail_on: Sequence[FailOn]) -> tuple[list[str], list[str]]:
    """Return which words of `fail_on` a report's verdict meets, and which of them were not measured."""
    verdict, changes = report.verdict, report.metrics.values()
    measured = {change.aspect for change in changes if change.before is not None and change.after is not None}
    if any(change.after is not None and change.aspect is Aspect.copying for change in changes):
        measured.add(Aspect.copying)  # it is compared with rows that were not trained on, not with the base
    absent = [name.value for name in fail_on if verdict is None or ASPECTS[name] not in measured]
    if verdict is None:
        return [], absent
    failures = {
        FailOn.worse: verdict.tone is Tone.lost
        or any(change.aspect is Aspect.task and change.outcome is Outcome.worse for change in changes),
        FailOn.undecided: verdict.gained in {None, Outcome.unknown},
        FailOn.forgot: verdict.forgot is True,
        FailOn.copied: verdict.copied is True,
    }
    return [name.value for name in fail_on if failures[name] and name.value not in absent], absent
