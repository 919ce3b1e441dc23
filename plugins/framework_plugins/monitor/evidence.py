"""How much evidence a rule needs: its chance of a false alarm holds for a whole training, however long that is.

A look has a small chance of error, and a training has hundreds: a rule spends its chance over all of its looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

FALSE_ALARMS = 0.005
"""The share of ordinary trainings that one rule may report."""


class Symptom(NamedTuple):
    """The finding of a rule: a sentence, and a key of `RECOMMENDATIONS` if the advice is not the usual one."""

    text: str
    cause: str = ""


def spent(look: int, tests: int = 1) -> float:
    """Return the chance of a false alarm for each test of a look; all looks together add up to `FALSE_ALARMS`.

    Args:
        look: the number of the look, from 1.
        tests: how many comparisons it makes.
    """
    return FALSE_ALARMS / (look * (look + 1)) / tests


def deviations(chance: float, freedom: float = math.inf) -> float:
    """Return how many standard errors noise exceeds with this chance.

    Args:
        chance: of noise that exceeds it, on one side.
        freedom: degrees of freedom of the standard error (Student's t, in Wallace's approximation).
    """
    normal = -NormalDist().inv_cdf(chance)
    if math.isinf(freedom):
        return normal
    return math.sqrt(freedom * math.expm1((normal * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom))


def few_runs(runs: int, marked: int, count: int) -> float:
    """Return the chance that `marked` of `count` entries form so few runs or fewer, if any order is as likely."""
    ways = sum(
        math.comb(marked - 1, marked_runs - 1) * math.comb(count - marked + 1, marked_runs)
        for marked_runs in range(1, runs + 1)
    )
    return ways / math.comb(count, marked)


def falling_fit(values: Sequence[float]) -> tuple[float, int]:
    """Return the squared distances from the closest sequence that never rises, and its number of levels."""
    levels: list[tuple[float, float, int]] = []  # sum, sum of squares, count
    for value in values:
        level = value, value**2, 1
        while levels and levels[-1][0] * level[2] <= level[0] * levels[-1][2]:
            total, squares, count = levels.pop()
            level = total + level[0], squares + level[1], count + level[2]
        levels.append(level)
    return sum(max(0.0, squares - total**2 / count) for total, squares, count in levels), len(levels)
