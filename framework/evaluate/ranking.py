"""Which of several systems that scored the same items is the best, corrected for having picked it.

- **One point is the best** if it is significantly better than each other point, each test at the full level. No
  correction is needed: were two points equally good and the best, only their own test could declare one of them, and
  with more of them it is less likely (Gutmann & Maymin 1987, Annals of Statistics 15, 456-461).
- **A point is worse than the best** at the level that holds for all pairs together (`joint_level`): the best one was
  picked by its value, so any pair may be the one that is shown.
- **The interval of a value** holds for all points together, so also for the one that was picked.

Seeds: several seeds of one point are averaged item by item, and the variance between seeds, pooled over the points,
widens every interval (the method of variance estimates recovery, Zou & Donner 2008, Statistics in Medicine 27, 1693).
`benchmarks/ranking.py` measures how often all of this is wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_
from statistics import fmean, stdev, variance
from typing import TYPE_CHECKING

from framework.api.records import Change, Lead, Measure, MeasureKind, Outcome, Point, Ranking, Standing
from framework.api.schema import VerdictConfig
from framework.api.scoring import mean
from framework.api.text import count
from framework.evaluate.verdict import compare_systems
from framework.evaluate.verdict.compare import change_of, decided, scale_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_MISSING = 0.1
"""A trial that lacks the scores of a larger share of its items is not compared."""
MAX_NATS = 700.0
"""The largest power of e that is a number."""
PATTERNS, MOST_PATTERNS = 5, 200_000
"""Patterns of signs for each one that a corrected level allows to be more extreme, and the most that are drawn."""
Key = tuple[str | int, float]


def align(measures: Mapping[int, Measure]) -> tuple[dict[int, Measure], dict[int, str], list[str]]:
    """Return the measures of trials over their common items, the reasons to leave trials out, and notes.

    Items are the same if they come from the same place in the data and weigh the same: a loss over other tokens is
    another measure. An item that occurs twice is one cluster.
    """
    keys = {trial: _keys(measure) for trial, measure in measures.items()}
    reasons: dict[int, str] = {}
    for trial, measure in measures.items():
        lacking = sum(item is None and weight > 0 for item, (_, weight) in zip(measure.items, keys[trial], strict=True))
        if not keys[trial]:
            reasons[trial] = "its items are not stored"
        elif any(item is not None and not math.isfinite(item) for item in measure.items):
            reasons[trial] = "a value of it is not a finite number"
        elif lacking > MOST_MISSING * len(keys[trial]):
            reasons[trial] = f"{lacking} of its {len(keys[trial])} items have no score"
    sets = {trial: Counter(trial_keys) for trial, trial_keys in keys.items() if trial not in reasons}
    if not sets:
        return {}, reasons, []
    # Those that most trials were asked; of trials that look in stages, some were asked only the first of them.
    common = max(
        sets.values(),
        key=lambda candidate: sum(
            candidate <= trial_items or trial_items <= candidate for trial_items in sets.values()
        ),
    )
    for trial, trial_items in sets.items():
        if not (trial_items <= common or common <= trial_items):
            reasons[trial] = "it was measured on other items"
    trials = [trial for trial in measures if trial not in reasons]
    shared = reduce(and_, (sets[trial] for trial in trials))
    without = {
        key
        for trial in trials
        for key, item in zip(keys[trial], measures[trial].items, strict=True)
        if item is None and key in shared and key[1]
    }
    counts = Counter({key: times for key, times in shared.items() if key[1] and key not in without})
    lost = count(len(without), "item")
    notes = [f"{lost} without a score in some trial {'is' if len(without) == 1 else 'are'} left out"] if without else []
    aligned = {trial: _select_items(measures[trial], keys[trial], counts) for trial in trials}
    return (aligned, reasons, notes) if counts else ({}, reasons, notes)


def _keys(measure: Measure) -> list[Key]:
    weights = measure.weights or [1.0] * len(measure.items)
    return list(zip(measure.where or range(len(measure.items)), weights, strict=True))


def _select_items(measure: Measure, keys: Sequence[Key], counts: Counter[Key]) -> Measure:
    """Return a measure over some of its items, in the order of their keys; items with the same key form a cluster."""
    occurrences: Counter[Key] = Counter()
    indices = []
    for index, key in enumerate(keys):
        occurrences[key] += 1
        if occurrences[key] <= counts[key]:
            indices.append(index)
    indices.sort(key=lambda index: str(keys[index]))
    items = [measure.items[index] for index in indices]
    weights = [measure.weights[index] for index in indices] if measure.weights else []
    clusters = [measure.clusters[index] for index in indices] if measure.clusters else []
    if len({keys[index] for index in indices}) < len(indices):
        first_clusters: dict[object, int] = {}
        numbers = clusters or range(len(indices))
        # Items of one key get the cluster of the first of them.
        clusters = [
            first_clusters.setdefault(keys[index], cluster) for index, cluster in zip(indices, numbers, strict=True)
        ]
    value = mean(items, weights, exponential=measure.exponential)
    bare = measure.without_controls()
    return replace(
        bare,
        value=value,
        items=items,
        weights=weights,
        clusters=clusters,
        where=[str(keys[index][0]) for index in indices],
    )


@dataclass(frozen=True)
class _SeedSpread:
    """The standard deviation between seeds of one recipe, on the scale of the items; 0 if no point has two seeds."""

    deviation: float
    freedom: int

    def half_width(self, confidence: float, *seeds: int) -> float:
        """Return the half-width of the seeds' interval of a mean over `seeds` seeds, or of a difference."""
        import numpy as np  # noqa: PLC0415 - which --help need not load

        from framework.evaluate.verdict.paired import student  # noqa: PLC0415 - as above

        if not self.deviation:
            return 0.0
        quantile = float(student(confidence, np.array(float(self.freedom))))
        return quantile * self.deviation * math.sqrt(sum(1 / count for count in seeds))


def rank(points: Sequence[Sequence[Measure]], config: VerdictConfig) -> Ranking:
    """Compare points by the measures of their seeds, all over the same items, as `align` returns them.

    In the ranking, trials have the numbers in which they are given, from 0.
    """
    level = 1 - config.confidence
    scored = [_average(seeds) for seeds in points]
    counts = [len(seeds) for seeds in points]
    measure, spread = replace(scored[0], unit=scored[0].unit or scale_of(scored)), _pool_spread(points)
    leader = max(range(len(points)), key=lambda index: (1 if measure.higher_is_better else -1) * scored[index].value)
    sums, weights = _cluster_sums(scored)
    joint = _level(measure, sums, weights, config, pairs=True)

    def leads(level: float) -> dict[int, Lead]:
        """Compare the leader with each other point."""
        width = {index: spread.half_width(1 - level, counts[index], counts[leader]) for index in range(len(points))}
        return {
            index: lead(scored[leader], rival, config, level=level, width=width[index])
            for index, rival in enumerate(scored)
            if index != leader
        }

    plain, corrected = leads(level), leads(joint)
    clear = bool(plain) and all(gap.clear for gap in plain.values())
    bounds = _intervals(measure, sums, weights, _level(measure, sums, weights, config, pairs=False), spread, counts)
    ranked_points, first_trial = [], 0
    for index, seeds in enumerate(points):
        gap = corrected.get(index)
        standing = Standing.best if clear or not plain else Standing.tied
        if gap is not None:
            standing = Standing.worse if clear or gap.clear else Standing.tied
        ranked_points.append(
            Point(
                trials=[*range(first_trial, first_trial + len(seeds))],
                value=scored[index].value,
                low=bounds[index][0],
                high=bounds[index][1],
                standing=standing,
                behind_low=gap.low if gap else None,
                behind_high=gap.high if gap else None,
                spread=stdev(map(_mean_level, seeds)) if len(seeds) > 1 else None,
            )
        )
        first_trial += len(seeds)
    return Ranking(
        measure="",
        unit=measure.unit,
        higher_is_better=measure.higher_is_better,
        item=measure.item,
        items=len(measure.items),
        clusters=len(set(measure.clusters)),
        confidence=config.confidence,
        points=ranked_points,
        leader=ranked_points[leader].trials[0],
        clear=clear,
        # Without a winner, the point that was picked may be behind another one, and any may have been picked.
        lead_low=_least_bound(gap.low for gap in (plain if clear else corrected).values()),
        lead_high=_least_bound(gap.high for gap in corrected.values()),
        spread=spread.deviation if spread.freedom else None,
        freedom=spread.freedom,
        margin=config.margin * (1.0 if _has_limit(measure) and not measure.unit else abs(scored[leader].value)),
    )


def lead(ahead: Measure, behind: Measure, config: VerdictConfig, *, level: float, width: float = 0.0) -> Lead:
    """Return by how much one measure is better than another over the same items, with an interval at a level.

    `width` is how far the seeds move the difference at this level.
    """
    resamples = max(config.resamples, min(math.ceil(PATTERNS / level), MOST_PATTERNS))
    settings = replace(config, confidence=1 - level, resamples=resamples)
    change = decided(change_of(behind, ahead, settings, (), 1), level)
    up = ahead.higher_is_better
    middle = (ahead.value - behind.value) * (1 if up else -1)
    bounds = (change.low, change.high) if up else (_negate(change.high), _negate(change.low))
    low, high = _widen(*bounds, middle, width)
    clear = change.outcome is Outcome.better and low is not None and low > 0
    return Lead([], [], "", len(ahead.items), [ahead.value, behind.value], low, high, clear)


def difference(ahead: Sequence[Measure], behind: Sequence[Measure], config: VerdictConfig, *, level: float) -> Lead:
    """Return the lead of the seeds of one point over the seeds of another."""
    width = _pool_spread([ahead, behind]).half_width(1 - level, len(ahead), len(behind))
    return lead(_average(ahead), _average(behind), config, level=level, width=width)


def compare_recipes(
    before: Sequence[Mapping[str, Measure]], after: Sequence[Mapping[str, Measure]], config: VerdictConfig
) -> dict[str, Change]:
    """Compare two recipes by the measures of their seeds, in each measure whose items both have.

    In a change, `before` is of the first one. Its interval and its p-value allow for all measures together; if there
    are several seeds, it has no p-value.
    """
    indices = range(len(before) + len(after))
    names = dict.fromkeys(name for measures in (*before, *after) for name in measures)
    sides: dict[str, tuple[list[Measure], list[Measure]]] = {}
    for name in names:
        measures = {index: seed[name] for index, seed in enumerate((*before, *after)) if name in seed}
        aligned, _, _ = align(measures)
        if [*aligned] == [*indices]:
            seeds = [*aligned.values()]
            sides[name] = seeds[: len(before)], seeds[len(before) :]
    systems = {
        side: {name: _average(seeds[index]) for name, seeds in sides.items()} for index, side in enumerate(("A", "B"))
    }
    changes = {comparison.measure: comparison.change for comparison in compare_systems(systems, config)}
    confidence = 1 - (1 - config.confidence) / max(len(changes), 1)
    for name, change in changes.items():
        width = _pool_spread(sides[name]).half_width(confidence, len(before), len(after))
        if width and change.before is not None and change.after is not None:
            low, high = _widen(change.low, change.high, change.after - change.before, width)
            lost = low is None or high is None or low <= 0 <= high
            is_decided = change.outcome in {Outcome.better, Outcome.worse}
            outcome = Outcome.undecided if lost and is_decided else change.outcome
            # The test knows nothing of seeds.
            changes[name] = replace(change, low=low, high=high, outcome=outcome, p_value=None)
    return changes


def _widen(low: float | None, high: float | None, middle: float, width: float) -> tuple[float | None, float | None]:
    """Return the bounds of an interval around a value after another error is added."""
    ends = ((low, -1), (high, 1))
    lower, upper = (None if end is None else middle + side * math.hypot(end - middle, width) for end, side in ends)
    return lower, upper


def _negate(bound: float | None) -> float | None:
    return None if bound is None else -bound


def _least_bound(bounds: Iterable[float | None]) -> float | None:
    """Return the least bound; None if one of them is None, or there are none."""
    values = [*bounds]
    return None if None in values else min((bound for bound in values if bound is not None), default=None)


def _mean_level(measure: Measure) -> float:
    """Return the mean of the items, which is the logarithm of a perplexity."""
    return mean(measure.items, measure.weights, exponential=False)


def _average(seeds: Sequence[Measure]) -> Measure:
    """Average seeds item by item."""
    if len(seeds) == 1:
        return seeds[0]
    by_item = zip(*(seed.items for seed in seeds), strict=True)
    items: list[float | None] = [fmean(value for value in values if value is not None) for values in by_item]
    value = mean(items, seeds[0].weights, exponential=seeds[0].exponential)
    return replace(seeds[0], items=items, value=value)


def _pool_spread(points: Sequence[Sequence[Measure]]) -> _SeedSpread:
    """Pool the variance between seeds over the points."""
    freedom = sum(len(seeds) - 1 for seeds in points)
    squares = sum((len(seeds) - 1) * variance(map(_mean_level, seeds)) for seeds in points if len(seeds) > 1)
    return _SeedSpread(math.sqrt(squares / freedom) if freedom else 0.0, freedom)


def _cluster_sums(scored: Sequence[Measure]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the weighted sums of the scores of every point, cluster by cluster, and the weights of the clusters."""
    import numpy as np  # noqa: PLC0415 - which --help need not load

    measure = scored[0]
    weights = np.array(measure.weights or [1.0] * len(measure.items))
    _, numbers = np.unique(measure.clusters or [*range(len(measure.items))], return_inverse=True)
    items = np.array([point.items for point in scored], dtype=np.float64)
    rows = [np.bincount(numbers, weights=row * weights) for row in (*items, np.ones_like(weights))]
    added = np.array(rows, dtype=np.float64)
    return added[:-1], added[-1]


def _level(
    measure: Measure, sums: NDArray[np.float64], weights: NDArray[np.float64], config: VerdictConfig, *, pairs: bool
) -> float:
    """Return the level of one comparison at which all pairs, or all values, together have the config's level."""
    from framework.evaluate.verdict.paired import joint_level  # noqa: PLC0415 - numpy, which --help need not load

    level, systems = 1 - config.confidence, len(sums)
    if not _has_limit(measure):
        # A few large losses, which many trials share, would make these look more similar than they are.
        return level / max(1, systems * (systems - 1) // 2 if pairs else systems)
    return joint_level(sums, weights, level=level, resamples=config.resamples, pairs=pairs)


def _has_limit(measure: Measure) -> bool:
    """Whether the scores of a measure have a limit, as those of answers."""
    return measure.kind in {MeasureKind.content, MeasureKind.form} and not measure.exponential


def _intervals(
    measure: Measure,
    sums: NDArray[np.float64],
    weights: NDArray[np.float64],
    level: float,
    spread: _SeedSpread,
    counts: Sequence[int],
) -> Sequence[tuple[float | None, float | None]]:
    """Return the interval of each value."""
    import numpy as np  # noqa: PLC0415 - which --help need not load

    from framework.evaluate.verdict.paired import UNSEEN, of_means  # noqa: PLC0415 - as above

    content = _has_limit(measure)
    share = content and not measure.unit and bool(np.all((sums >= 0) & (sums <= weights)))
    # What was not seen lies at most at the other end of the scale.
    largest = 0.5 if share else UNSEEN if content else 0.0
    means = sums.sum(axis=1) / weights.sum()
    middle = 0.5 if share else float(means.mean())
    if len(weights) == 1:
        return [(None, None)] * len(sums)
    around = of_means(sums - middle * weights, np.broadcast_to(weights, sums.shape), 1 - level, largest)
    intervals = []
    for value, low, high, seeds in zip(means.tolist(), *(middle + bound for bound in around), counts, strict=True):
        width = spread.half_width(1 - level, seeds)
        ends = value - math.hypot(value - low, width), value + math.hypot(high - value, width)
        if share:
            ends = max(ends[0], 0.0), min(ends[1], 1.0)
        if measure.exponential:
            ends = math.exp(ends[0]), math.exp(min(ends[1], MAX_NATS))
        intervals.append(ends)
    return intervals
