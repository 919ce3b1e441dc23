"""The importance of each setting of a sweep: its share of the variance of the objective.

It is the one-way analysis of variance (Fisher 1925) that functional ANOVA (Hutter, Hoos, Leyton-Brown 2014) takes for
its main effects, on the trials themselves and without a model between them: trials are grouped by the value of a
setting, and what lies between the groups is set beside the whole, corrected for the differences that groups have by
chance (epsilon squared, Kelley 1935). Numbers with more than `GROUPS` values are cut into that many groups of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

NUMBER_GROUPS = 4
"""Groups of a number that takes many values."""


@dataclass(frozen=True)
class Importance:
    """A setting and its share of the variance, 0 to 1; None if the trials do not tell."""

    name: str
    share: float | None


def importances(names: Sequence[str], settings: Sequence[Sequence[str]], values: Sequence[float]) -> list[Importance]:
    """Return the importance of each setting, the largest first.

    Args:
        names: of the settings.
        settings: for each trial the value of each setting, as text.
        values: for each trial the objective.
    """
    results = [Importance(name, share([row[column] for row in settings], values)) for column, name in enumerate(names)]
    return sorted(results, key=lambda importance: -1.0 if importance.share is None else importance.share, reverse=True)


def share(setting: Sequence[str], values: Sequence[float]) -> float | None:
    """Return the share of one setting; None if all trials have one value, or each is alone in its group."""
    groups: dict[str, list[float]] = {}
    for group, value in zip(grouped(setting), values, strict=True):
        groups.setdefault(group, []).append(value)
    free = len(values) - len(groups)
    mean = fmean(values) if values else 0.0
    total = sum((value - mean) ** 2 for value in values)
    if free < 1 or len(groups) == 1 or total == 0:
        return None
    within = sum((value - fmean(group)) ** 2 for group in groups.values() for value in group)
    # Without the last term, random groups explain (groups - 1) / (trials - 1) of the variance.
    between = total - within - (len(groups) - 1) * within / free
    return min(1.0, max(0.0, between / total))


def grouped(setting: Sequence[str]) -> list[str]:
    """Return the group of each trial: its value, or its part of the range if there are many numbers."""
    numbers = as_numbers(setting)
    if numbers is None or len(set(numbers)) <= NUMBER_GROUPS:
        return list(setting)
    order = sorted(set(numbers))
    return [str(order.index(value) * NUMBER_GROUPS // len(order)) for value in numbers]


def as_numbers(setting: Sequence[str]) -> list[float] | None:
    """Return values as numbers; None if one of them is not a number."""
    try:
        return [float(value) for value in setting]
    except ValueError:
        return None
