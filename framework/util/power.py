"""How large a difference has to be for a number of prompts to show it: the power of the exact McNemar test."""

from __future__ import annotations

import bisect
import math
from functools import cache
from statistics import NormalDist

POWER = 0.8
"""With this probability the difference is found."""
WRONG_WAY = 0.05
"""Share of the prompts that are assumed to change against the difference."""
EXACTLY = 200
"""Up to this many prompts the power is summed up; with more it is that of the normal distribution."""


@cache
def least_difference(count: int, confidence: float = 0.95) -> float | None:
    """Return the least difference of two paired shares that the exact McNemar test finds with a power of 80%.

    Args:
        count: how many prompts are asked before and after.
        confidence: of the test, such as 0.95.

    Returns:
        The difference, in whole points, 0 to 1; None if even all prompts getting better would not do.
    """
    if count > EXACTLY:  # the sums below grow with the square of the count
        reach = (NormalDist().inv_cdf((1 + confidence) / 2) + NormalDist().inv_cdf(POWER)) ** 2 / count
        return (reach + math.sqrt(reach**2 + 8 * WRONG_WAY * reach)) / 2
    limits = [_critical_wins(differing, 1 - confidence) for differing in range(count + 1)]
    points = bisect.bisect_left(range(1, 101), x=True, key=lambda points: _finds(count, points / 100, limits)) + 1
    return points / 100 if points <= 100 else None  # noqa: PLR2004 - a whole


def _critical_wins(differing: int, level: float) -> int:
    """Return how many of the pairs that differ have to get better for the test to decide; more than all if none."""
    tail, wins = 0.0, differing + 1
    while wins > 0:
        tail += math.comb(differing, wins - 1) / 2**differing
        if 2 * tail > level:
            return wins
        wins -= 1
    return differing + 1


def _finds(count: int, difference: float, limits: list[int]) -> bool:
    """Whether the test says better with the power that is wanted, where shares differ by so much."""
    down = min(WRONG_WAY, (1 - difference) / 2)
    changing = difference + 2 * down
    share = (difference + down) / changing
    power = math.fsum(
        _binomial(count, differing, changing)
        * math.fsum(_binomial(differing, better, share) for better in range(limits[differing], differing + 1))
        for differing in range(1, count + 1)
        if limits[differing] <= differing
    )
    return power >= POWER


def _binomial(count: int, hits: int, share: float) -> float:
    if share >= 1:
        return float(hits == count)
    logs = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    return math.exp(logs + hits * math.log(share) + (count - hits) * math.log1p(-share))
