"""Two evaluations side by side: for each measure whether it is better, worse, or without a significant difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from framework.api.records import Change, EvalResult, Measure, Outcome
from framework.api.schema import VerdictConfig

if TYPE_CHECKING:
    from framework.evaluate.verdict.bootstrap import Interval

NOTHING: Mapping[str, Measure] = {}


def compare(
    before: EvalResult | None, after: EvalResult | None, nulls: Sequence[EvalResult], config: VerdictConfig
) -> dict[str, Change]:
    """Return the change of each measure; one that only one side has stands alone."""
    first, last = (result.measures if result else NOTHING for result in (before, after))
    names = [*last, *(name for name in first if name not in last)]
    return {name: _change(name, first.get(name), last.get(name), nulls, config) for name in names}


def _change(
    name: str, before: Measure | None, after: Measure | None, nulls: Sequence[EvalResult], config: VerdictConfig
) -> Change:
    from framework.evaluate.verdict.bootstrap import interval  # noqa: PLC0415 - numpy, which --help need not load

    known = after or before
    assert known is not None  # noqa: S101 - the name comes from one of them
    values = before.value if before else None, after.value if after else None
    plain = Change(*values, known.higher_is_better, known.aspect, unit=known.unit)
    if before is None or after is None:
        return plain
    noise = [abs(null.measures[name].value - before.value) for null in nulls if name in null.measures]
    null = max(noise, default=None)
    estimate = interval(before, after, confidence=config.confidence, resamples=config.resamples)
    if estimate is None:
        return replace(plain, null=null)
    outcome = _outcome(estimate, null or 0.0, config.confidence, up=known.higher_is_better)
    return replace(plain, pairs=estimate.pairs, low=estimate.low, high=estimate.high, null=null, outcome=outcome)


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979, Scandinavian Journal of Statistics 6, 65-70), in their order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _outcome(estimate: Interval, noise: float, confidence: float, *, up: bool) -> Outcome:
    """Say what a difference comes to: it has to be beyond chance, and beyond what a random adapter does."""
    apart = estimate.low > 0 or estimate.high < 0
    if not apart or not _enough(estimate.pairs, confidence) or abs(estimate.difference) <= noise:
        return Outcome.undecided
    return Outcome.better if (estimate.difference > 0) is up else Outcome.worse


def _enough(pairs: int, confidence: float) -> bool:
    """Whether this many pairs can show a difference.

    Were the two models alike, all pairs would lean to one side with the probability 2 ** (1 - pairs) (a sign test): of
    five that all do, nothing can be said at 95%.
    """
    return pairs > 0 and 2.0 ** (1 - pairs) <= 1 - confidence
