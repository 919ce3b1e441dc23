"""Several systems that were asked the same things: each against one of them, or all pairs, in each measure.

    found = compare_systems({"base": base.measures, "tuned": tuned.measures}, VerdictConfig())
    found[0].change.outcome, found[0].change.low, found[0].change.p_value

A comparison of two systems in one measure is the verdict's: its tests, clusters and intervals. What is added here is
that there are several. The p-values are adjusted by Holm's method, and each interval has the confidence that all of
them together need to have that of `VerdictConfig.confidence` (Bonferroni): whichever comparison a reader picks, as the
best of many systems, its interval holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

from framework.api.records import Aspect, Change, Measure, MeasureKind, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict.compare import change_of, decided, holm, pairs_of

PATTERNS = 4
"""Sign patterns for each one that would have to be more extreme for a comparison to be significant."""


@dataclass(frozen=True)
class Comparison:
    """Two systems in one measure.

    `change` has `one` as `before` and `other` as `after`; its interval and its p-value allow for all comparisons that
    were made together. `p_value` is that of this comparison by itself, None if nothing could be tested.
    """

    measure: str
    one: str
    other: str
    change: Change
    p_value: float | None


def compare_systems(
    systems: Mapping[str, Mapping[str, Measure]],
    config: VerdictConfig,
    *,
    against: str = "",
    candidates: Mapping[str, int] | None = None,
) -> list[Comparison]:
    """Compare systems in each measure that both of a pair have, measure by measure.

    Args:
        systems: by name, the measures of each. The items of one measure are the same things in the same order in all
            systems; this is not checked here.
        config: the confidence, the margin and the number of sign patterns.
        against: the system that each other one is compared with; empty for all pairs.
        candidates: by measure, how many weights were compared on the same items before; 1 if it is not named.
    """
    pairs = [(against, name) for name in systems if name != against] if against else [*combinations(systems, 2)]
    names = dict.fromkeys(name for measures in systems.values() for name in measures)
    comparisons = [
        (name, before, after)
        for name in names
        for before, after in pairs
        if name in systems[before] and name in systems[after]
    ]
    sides = [(systems[before][name], systems[after][name]) for name, before, after in comparisons]
    total = sum(_is_testable(*sides_of_pair) for sides_of_pair in sides) or 1
    level = 1 - config.confidence
    settings = replace(
        config, confidence=1 - level / total, resamples=max(config.resamples, math.ceil(PATTERNS * total / level))
    )
    changes = [
        change_of(*sides_of_pair, settings, (), (candidates or {}).get(name, 1))
        for sides_of_pair, (name, _, _) in zip(sides, comparisons, strict=True)
    ]
    tested = [
        index
        for index, sides_of_pair in enumerate(sides)
        if changes[index].p_value is not None and _is_testable(*sides_of_pair)
    ]
    p_values = [changes[index].p_value or 0.0 for index in tested]
    # What could not be tested counts as one of them, with a p-value of 1.
    adjusted = holm([*p_values, *[1.0] * (total - len(tested))])
    for index, p_value, value in zip(tested, p_values, adjusted, strict=False):
        change, items = changes[index], pairs_of(*sides[index], ())
        exact = items is not None and items.is_share and not items.clusters
        # The interval decides beside the test, except for the exact one, and the interval is Bonferroni's.
        holms = exact or not _holds_zero(change)
        changes[index] = replace(change, p_value=value if holms else min(1.0, total * p_value))
    by_itself = dict(zip(tested, p_values, strict=True))
    return [
        Comparison(*comparisons[index], _decide(change, level), by_itself.get(index))
        for index, change in enumerate(changes)
    ]


def _is_testable(before: Measure, after: Measure) -> bool:
    """Whether a difference is better or worse, and the items are known."""
    judged = after.aspect is not Aspect.copying and after.kind is not MeasureKind.change
    return judged and bool(after.items) and len(before.items) == len(after.items)


def _holds_zero(change: Change) -> bool:
    return change.low is None or change.high is None or change.low <= 0 <= change.high


def _decide(change: Change, level: float) -> Change:
    is_tested = change.p_value is not None and change.low is not None and change.outcome is None
    if not is_tested or (change.p_value or 0.0) > level or not _holds_zero(change):
        return decided(change, level)
    # Holm's method finds more than intervals of one confidence show: then the interval ends at 0.
    rises = (change.after or 0.0) > (change.before or 0.0)
    outcome = Outcome.better if rises is change.higher_is_better else Outcome.worse
    low, high = (0.0, change.high) if rises else (change.low, 0.0)
    return replace(change, outcome=outcome, low=low, high=high)
