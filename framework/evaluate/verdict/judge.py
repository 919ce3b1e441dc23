"""The verdict on a run: gained, forgot, copied, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from framework.api.records import Aspect, Change, Concern, MeasureKind, Outcome, Verdict
from framework.api.schema import VerdictConfig
from framework.api.text import count, difference, is_share, number
from framework.evaluate.verdict.compare import at_worst

HARMS = (
    (Aspect.general, "forgot", "no worse than the margins"),
    (Aspect.copying, "copied", "no more than the margin"),
)
"""What a concern is about, the word for it, and what is said if it is ruled out."""


def judge(
    changes: Mapping[str, Change],
    concerns: Sequence[Concern],
    config: VerdictConfig,
    *,
    leak: str = "",
    template: bool = False,
) -> Verdict:
    """Sum up what was measured.

    Args:
        changes: each measure before and after.
        concerns: what plugins checked.
        config: the settings of the verdict.
        leak: what an audit found of prompts that training answers; empty if nothing.
        template: whether all prompts follow one template, the only one that a gain is shown for.
    """
    primary = next((name for name, change in changes.items() if change.primary), "")
    gained = _gained(changes, primary)
    measured = {change.aspect for change in changes.values() if change.after is not None}
    harms = {aspect: _harmed(aspect, concerns) for aspect in measured}
    gain = _gain(changes[primary]) if primary else None
    return Verdict(
        gained=gained,
        forgot=harms.get(Aspect.general),
        copied=harms.get(Aspect.copying),
        score=None if gain is None else max(-1.0, gain - sum(concern.harm for concern in concerns)),
        confidence=config.confidence,
        concerns=list(concerns),
        lines=[
            *_task_lines(changes, primary, gained, config, leak=leak, template=template),
            *_harm_lines(concerns, measured),
        ],
        more=list(_more(changes, concerns)),
        primary=primary,
    )


def _gained(changes: Mapping[str, Change], primary: str) -> Outcome | None:
    """Return the outcome of the primary measure; None if the base was not measured."""
    if not any(change.before is not None and change.after is not None for change in changes.values()):
        return None
    outcome = changes[primary].outcome if primary else None
    return Outcome.unknown if outcome in {None, Outcome.undecided} else outcome


def _harmed(aspect: Aspect, concerns: Sequence[Concern]) -> bool | None:
    about = [concern for concern in concerns if concern.aspect is aspect]
    if any(concern.flagged for concern in about):
        return True
    return False if about and not any(concern.unknown for concern in about) else None


def _gain(change: Change) -> float | None:
    """Return the gain that is certain, -1 to 1: of a share its points, of anything else its share of the larger value.

    It is the bound of the interval that lies nearer to 0, and 0 if the interval holds it: no jump where a difference
    becomes significant.
    """
    before, after = change.before, change.after
    if before is None or after is None or change.outcome is None:
        return None
    if change.not_finite:
        return -1.0 if change.outcome is Outcome.worse else 0.0
    if change.low is None or change.high is None:
        return 0.0
    # At most one of the two is not 0: the bound nearer to 0, if the interval does not hold 0.
    certain = max(change.low, 0.0) + min(change.high, 0.0)
    rate = (
        change.kind is not MeasureKind.loss and not change.unit and min(before, after) >= 0 and max(before, after) <= 1
    )
    size = 1.0 if rate else max(abs(before), abs(after)) or 1.0
    return max(-1.0, min(1.0, certain / size * (1 if change.higher_is_better else -1)))


def _task_lines(
    changes: Mapping[str, Change],
    primary: str,
    gained: Outcome | None,
    config: VerdictConfig,
    *,
    leak: str,
    template: bool,
) -> Iterator[str]:
    if gained is None:
        yield "gained: unknown, because the base was not measured"
    elif not primary and config.primary:
        yield f"gained: cannot tell. verdict.primary={config.primary} was not measured"
    elif not primary:
        yield (
            "gained: cannot tell. No metric compares the content of answers with what it should be: give prompts with "
            "answers and metric=[exact_match], or metric=[judge]"
        )
    else:
        yield _primary_line(primary, changes[primary], config, template=template)
    if worse := _named(changes, Outcome.worse, MeasureKind.content, primary):
        yield f"worse in content: {', '.join(_values(name, changes[name]) for name in worse)}"
    if gained is not Outcome.better and (form := _named(changes, Outcome.better, MeasureKind.form, primary)):
        yield f"better in form only: {', '.join(form)}"
    change = changes.get(primary)
    if leak:
        left = f"; {change.leaked} of {change.leaked + change.pairs} are left out here" if change else ""
        yield f"leaked: {leak}{left}"
    if change and change.missing:
        yield (
            f"{change.missing} of {count(change.pairs, 'answer')} have no score before or after: the verdict has to "
            "hold whether these answers are counted as the best or as the worst"
        )
    if change and change.candidates > 1:
        yield (
            f"these prompts also chose the weights, from {change.candidates} validations: the test allows for the "
            "choice of the best"
        )


def _primary_line(name: str, change: Change, config: VerdictConfig, *, template: bool) -> str:
    """Say what the primary measure comes to, with its numbers."""
    asked = count(change.pairs, "prompt")
    if change.outcome is None:
        return f"gained: cannot tell. {name} has no result for each prompt, so nothing can be tested"
    if not change.pairs:
        return f"gained: cannot tell. All {change.leaked} prompts are answered by training rows"
    if change.not_finite:
        return f"gained: {change.outcome.value} in {name}: {change.not_finite} of {asked} give no finite number"
    if change.missing == change.pairs:
        return f"gained: cannot tell. None of {asked} has a score of {name} before and after"
    groups = f" in {count(change.clusters, 'group')} of similar ones" if change.clusters else ""
    bounds = difference(change, name)
    shown = f"{_values(name, change)} of {asked}{groups}"
    shown += f", {bounds} at {config.confidence:.0%} confidence" if bounds else ""
    form = " (form, not content)" if change.kind is not MeasureKind.content else ""
    if change.outcome in {Outcome.better, Outcome.worse}:
        narrow = "; all prompts follow one template, and this holds only for it" if template else ""
        return f"gained: {change.outcome.value}{form}. {shown} ({_p(change.p_value)}){narrow}"
    if change.outcome is Outcome.no_worse:
        return f"gained: no worse than {_points(change.margin, change, name)}{form}, and no significant gain. {shown}"
    floor = "; the base already has the worst possible score" if at_worst(change) else ""
    power = f"with {asked}, four of five runs detect a difference of {_points(change.least, change, name)}"
    if change.least is None:
        power = f"{asked} {'is' if change.pairs == 1 else 'are'} too few to detect any difference"
    return f"gained: cannot tell, no significant difference{form}. {shown}{floor}; {power}"


def _values(name: str, change: Change) -> str:
    return f"{name} {' to '.join(number(value, name, change.unit) for value in (change.before, change.after))}"


def _p(value: float | None) -> str:
    if value is None:
        return "untested"
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"  # noqa: PLR2004 - as is the custom


def _points(value: float | None, change: Change, name: str) -> str:
    """Write a size of a difference in the unit of a measure."""
    if value is None:
        return "-"
    share = change.after is not None and is_share(change.after, name, change.unit)
    return f"{100 * value:.0f} points" if share else f"{value:.3g}{f' {change.unit}' if change.unit else ''}"


def _named(changes: Mapping[str, Change], outcome: Outcome, kind: MeasureKind, primary: str) -> list[str]:
    return [
        name
        for name, change in changes.items()
        if name != primary and change.aspect is Aspect.task and change.outcome is outcome and change.kind is kind
    ]


def _harm_lines(concerns: Sequence[Concern], measured: set[Aspect]) -> Iterator[str]:
    """Say what was forgotten and copied: shown, ruled out, or neither."""
    for aspect, word, ruled_out in HARMS:
        about = [concern for concern in concerns if concern.aspect is aspect]
        for concern in about:
            if concern.flagged:
                yield f"{word}: {concern.text}. {concern.recommendation}"
        rest = "; ".join(concern.text for concern in about if not concern.flagged)
        if any(concern.flagged for concern in about):
            continue
        if any(concern.unknown for concern in about):
            yield f"{word}: cannot tell. {rest}"
        elif about:
            yield f"{word}: {ruled_out} ({rest})"
        elif aspect in measured:
            yield f"{word}: measured, but not judged"
    for concern in concerns:
        if concern.aspect is Aspect.task and concern.flagged:
            yield f"{concern.text}. {concern.recommendation}"


def _more(changes: Mapping[str, Change], concerns: Sequence[Concern]) -> Iterator[str]:
    """Say what the other measures of the task come to, and what nobody needs to worry about."""
    for kind in (MeasureKind.content, MeasureKind.form, MeasureKind.loss):
        rest = {
            name: change
            for name, change in changes.items()
            if change.aspect is Aspect.task and change.kind is kind and not change.primary
        }
        words = [
            f"{outcome.value} in {', '.join(names)}"
            for outcome in Outcome
            if (names := [name for name, change in rest.items() if change.outcome is outcome])
        ]
        if words:
            yield f"{kind.value}: {'; '.join(words)}"
    yield from (concern.text for concern in concerns if concern.aspect is Aspect.task and not concern.flagged)
