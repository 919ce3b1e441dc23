"""How much more of one group of rows is recited than of another, with bounds that are valid for few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean


@dataclass(frozen=True)
class Excess:
    """The difference of two means, and the bounds of its interval."""

    value: float
    low: float
    high: float


def excess(train: Sequence[float], held_out: Sequence[float], confidence: float) -> Excess:
    """Return the mean of `train` less that of `held_out`, whose values are at most 1.

    The bounds are those of Agresti and Caffo for two independent shares: two zeros and two ones are added, half of them
    to each group, so the bounds are never equal, also if all or none of a few rows are recited (2000, The American
    Statistician 54, 280-288). With the variance of the values themselves they hold for probabilities too, which vary
    less than zeros and ones with the same mean. Without held-out rows it is the interval of the one mean.
    """
    if not held_out:
        value, (middle, variance) = fmean(train), _with(2, train)
    else:
        value, (one, spread), (two, other) = fmean(train) - fmean(held_out), _with(1, train), _with(1, held_out)
        middle, variance = one - two, spread + other
    half = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(variance)
    return Excess(value, max(middle - half, -1.0), min(middle + half, 1.0))


def _with(extra: int, values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the values with `extra` zeros and ones, and its variance."""
    count = len(values) + 2 * extra
    mean = (sum(values) + extra) / count
    return mean, (sum(value * value for value in values) + extra - count * mean**2) / count**2
