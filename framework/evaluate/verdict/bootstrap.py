"""How far the difference of two means may be chance: a paired bootstrap over the things that were asked.

The same prompts are asked before and after, so pairs are drawn, not answers: what makes a prompt hard counts on both
sides and drops out. (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13: percentile intervals.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framework.api.records import Measure

Floats = NDArray[np.float64]
CELLS = 4000
"""Pairs are grouped into at most this many cells: with more, the interval is the same and takes longer."""
AT_ONCE = 200
"""Resamples that are drawn at a time."""


@dataclass(frozen=True)
class Interval:
    """The difference `after - before` of a measure, and between which bounds it lies."""

    difference: float
    low: float
    high: float
    pairs: int


def interval(before: Measure, after: Measure, *, confidence: float, resamples: int, seed: int = 0) -> Interval | None:
    """Return the difference of two evaluations of the same things with its percentile interval.

    Args:
        before: the items of one evaluation.
        after: those of the other, in the same order.
        confidence: the share of resamples inside the interval, such as 0.95.
        resamples: how many are drawn.
        seed: of the generator; the same measures always give the same interval.

    Returns:
        None where the two did not ask the same number of things, or have no item in common.
    """
    if len(before.items) != len(after.items):
        return None
    weights = after.weights or [1.0] * len(after.items)
    rows = [row for row in zip(before.items, after.items, weights, strict=True) if None not in row and row[2]]
    if not rows:
        return None
    one, two, weight = np.array(rows, dtype=np.float64).T
    cells = [_cells(part * weight, seed) for part in (one, two)]
    share = _cells(weight, seed)
    drawn = np.concatenate(list(_drawn(cells[0], cells[1], share, after.exponential, resamples, seed)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    difference = _value(cells[1].sum() / share.sum(), after.exponential) - _value(
        cells[0].sum() / share.sum(), after.exponential
    )
    return Interval(float(difference), float(low), float(high), len(rows))


def _cells(values: Floats, seed: int) -> Floats:
    """Sum values into cells, by chance: neighbours may be alike."""
    if len(values) <= CELLS:
        return values
    order = np.random.default_rng(seed).permutation(len(values))
    return np.bincount(np.arange(len(values)) % CELLS, weights=values[order]).astype(np.float64)


def _drawn(
    before: Floats,
    after: Floats,
    weight: Floats,
    exponential: bool,  # noqa: FBT001 - passed on
    resamples: int,
    seed: int,
) -> Iterator[Floats]:
    """Give the differences of resamples."""
    random = np.random.default_rng(seed)
    count = len(weight)
    for start in range(0, resamples, AT_ONCE):
        size = min(AT_ONCE, resamples - start)
        times = random.multinomial(count, np.full(count, 1 / count), size=size).astype(np.float64)
        whole = times @ weight
        yield _value(times @ after / whole, exponential) - _value(times @ before / whole, exponential)


def _value(mean: Floats | float, exponential: bool) -> Floats:  # noqa: FBT001 - as it stands in the measure
    return np.exp(mean) if exponential else np.asarray(mean)
