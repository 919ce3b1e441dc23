"""The verdict on a run: gained, forgot, copied, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean

from framework.api.records import Aspect, Change, Concern, Outcome, Verdict
from framework.api.schema import VerdictConfig


def judge(changes: Mapping[str, Change], concerns: Sequence[Concern], config: VerdictConfig) -> Verdict:
    """Sum up what was measured."""
    task = {name: change for name, change in changes.items() if change.aspect is Aspect.task}
    measured = {change.aspect for change in changes.values() if change.after is not None}
    gained = _gained([change.outcome for change in task.values()])
    gains = [gain for change in task.values() if (gain := _gain(change)) is not None]
    flagged = {concern.aspect for concern in concerns if concern.flagged}
    score = fmean(gains) - sum(concern.harm for concern in concerns) if gains else None
    return Verdict(
        gained=gained,
        forgot=Aspect.general in flagged if Aspect.general in measured else None,
        copied=Aspect.copying in flagged if Aspect.copying in measured else None,
        score=score,
        confidence=config.confidence,
        concerns=list(concerns),
        lines=list(_lines(task, gained, concerns, measured, config.confidence)),
    )


def _gained(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    decided = set(outcomes) - {None}
    if not decided:
        return None
    if {Outcome.better, Outcome.worse} <= decided:
        return Outcome.mixed
    return next((outcome for outcome in (Outcome.better, Outcome.worse) if outcome in decided), Outcome.undecided)


def _gain(change: Change) -> float | None:
    """Return a change as a gain between -1 and 1: of a rate its points, of anything else its share of the larger.

    A change that is not significant gains nothing.
    """
    before, after = change.before, change.after
    if before is None or after is None or change.outcome is None:
        return None
    if change.outcome is Outcome.undecided:
        return 0.0
    rate = change.higher_is_better and 0 <= min(before, after) <= max(before, after) <= 1
    size = 1.0 if rate else max(abs(before), abs(after)) or 1.0
    gain = (after - before) / size * (1 if change.higher_is_better else -1)
    return max(-1.0, min(1.0, gain))


def _lines(
    task: Mapping[str, Change],
    gained: Outcome | None,
    concerns: Sequence[Concern],
    measured: set[Aspect],
    confidence: float,
) -> Iterator[str]:
    yield _gained_line(task, gained, confidence)
    for aspect, good, bad in (
        (Aspect.general, "forgot: no measurable forgetting", "forgot"),
        (Aspect.copying, "copied: no measurable memorization", "copied"),
    ):
        flagged = [concern for concern in concerns if concern.aspect is aspect and concern.flagged]
        for concern in flagged:
            yield f"{bad}: {concern.text}. {concern.recommendation}"
        if aspect in measured and not flagged:
            texts = [concern.text for concern in concerns if concern.aspect is aspect]
            yield f"{good} ({'; '.join(texts)})" if texts else good
    for concern in concerns:
        if concern.aspect is Aspect.task and concern.flagged:
            yield f"{concern.text}. {concern.recommendation}"


def _gained_line(task: Mapping[str, Change], gained: Outcome | None, confidence: float) -> str:
    if gained is None:
        return "gained: not known, there is nothing to compare with"
    words = []
    for outcome, text in (
        (Outcome.better, "better"),
        (Outcome.worse, "worse"),
        (Outcome.undecided, "no significant difference"),
    ):
        names = [name for name, change in task.items() if change.outcome is outcome]
        if names:
            words.append(f"{text} in {', '.join(names)}")
    if gained is Outcome.undecided:
        return f"gained: {words[0]} ({confidence:.0%} confidence)"
    noise = any(change.null is not None for change in task.values())
    beyond = " and more than a random adapter does" if noise else ""
    return f"gained: {'; '.join(words)} ({confidence:.0%} sure{beyond})"
