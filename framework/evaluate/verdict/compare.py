"""Two evaluations side by side: for each measure whether it is better, worse, or without a significant difference."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import TYPE_CHECKING

from framework.api.records import Aspect, Change, EvalResult, Measure, MeasureKind, Outcome
from framework.api.records.results import Quantity
from framework.api.schema import VerdictConfig
from framework.api.scoring import DEALT, mean
from framework.util.power import POWER, least_difference
from framework.util.shares import least_share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Items = list[float | None]
NOTHING: Mapping[str, Measure] = {}
OWN_SCALE = "on its own scale"
"""The unit of a metric that names none, if a score of it is below 0 or above 1."""
EXPECTED_RISE = 0.25
"""The share by which the loss of chosen answers may rise while the preferences get better: a usual side effect."""
LEVEL_STEP = 1e-4
"""How exactly the p-value of an interval is found."""


def compare(
    before: EvalResult | None,
    after: EvalResult | None,
    config: VerdictConfig,
    *,
    leaked: Collection[str] = (),
    candidates: Mapping[str, int] | None = None,
    decides: str = "",
    rewards: Collection[str] = (),
) -> dict[str, Change]:
    """Return the change of each measure; a measure of one side only is not compared.

    Args:
        before: the base.
        after: the trained model.
        config: the settings of the verdict.
        leaked: where rows are that training answers: they are left out.
        candidates: by measure, how many weights were compared on the same items before; 1 if it is not named.
        decides: the metric that decides about the gain, if the config names none; empty for the first one with content.
        rewards: metrics that the training raised directly; none of them decides.
    """
    before_measures, after_measures = (result.measures if result else NOTHING for result in (before, after))
    names = [*after_measures, *(name for name in before_measures if name not in after_measures)]
    primary = primary_measure(after_measures or before_measures, config, decides, rewards)
    sides = {name: (before_measures.get(name), after_measures.get(name)) for name in names}
    counts = {name: (candidates or {}).get(name, 1) for name in names}
    changes = {name: change_of(*sides[name], config, leaked, counts[name]) for name in names}
    if primary in changes:
        changes[primary] = replace(changes[primary], primary=True)
    for aspect in (Aspect.task, Aspect.general):
        family = [
            name
            for name, change in changes.items()
            if change.aspect is aspect
            and not change.primary
            and change.p_value is not None
            and change.kind is not MeasureKind.change  # which is not tested
        ]
        # The primary measure is chosen before anything is measured, so it needs no adjustment.
        adjusted = holm([changes[name].p_value or 0.0 for name in family])
        for name, value in zip(family, adjusted, strict=True):
            changes[name] = replace(changes[name], p_value=value)
    changes = {
        name: _hold_back(decided(change, 1 - config.confidence), *sides[name], config, leaked, counts[name])
        for name, change in changes.items()
    }
    outcomes = {change.outcome for change in changes.values() if is_preference(change)}
    if Outcome.better not in outcomes or Outcome.worse in outcomes:
        return changes
    return {name: replace(change, outcome=None) if _is_expected(change) else change for name, change in changes.items()}


def is_preference(change: Change) -> bool:
    """Whether a measure is a probability of given texts that a method of preferences raises."""
    return change.aspect is Aspect.task and change.kind is MeasureKind.loss and change.higher_is_better


def _is_expected(change: Change) -> bool:
    """Whether a loss rose within the limit while the preferences got better."""
    is_loss = change.aspect is Aspect.task and change.kind is MeasureKind.loss and not change.higher_is_better
    if not is_loss or change.outcome is not Outcome.worse or change.before is None or change.after is None:
        return False
    return change.after <= (1 + EXPECTED_RISE) * change.before


def primary_measure(
    measures: Mapping[str, Measure], config: VerdictConfig, decides: str = "", rewards: Collection[str] = ()
) -> str:
    """Return the name of the primary measure; empty if no measure can decide."""
    if config.primary is not None:
        return config.primary
    measures = {name: measure for name, measure in measures.items() if not name.endswith(Measure.VS_RANDOM)}
    contents = [
        name
        for name, measure in measures.items()
        if measure.aspect is Aspect.task and measure.kind is MeasureKind.content and name not in rewards
    ]
    chosen = [name for name in (f"{decides}{Measure.WINS}", decides) if name in contents]
    return next(iter([*chosen, *contents]), "")


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted by Holm (1979, Scandinavian Journal of Statistics 6, 65-70), in their order."""
    order = sorted(range(len(values)), key=values.__getitem__)
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class Pairs:
    """The items that are compared. `clusters` is empty if all are different."""

    before: list[float | None]
    after: list[float | None]
    weights: list[float]
    clusters: list[int]
    leaked: int

    @property
    def missing(self) -> int:
        """The number of items without a score on one side."""
        return sum(None in pair for pair in zip(self.before, self.after, strict=True))

    @property
    def not_finite(self) -> int:
        """The number of items whose score is not finite on one side."""
        return sum(map(_not_finite, self.before, self.after))

    @property
    def is_share(self) -> bool:
        """Whether every score is 0 or 1 and counts the same."""
        scores = {*self.before, *self.after} - {None}
        return scores <= {0.0, 1.0} and len(set(self.weights)) == 1


def _not_finite(*values: float | None) -> bool:
    return any(value is not None and not math.isfinite(value) for value in values)


def pairs_of(before: Measure, after: Measure, leaked: Collection[str]) -> Pairs | None:
    """Return the items that both measures have; None if they have different items."""
    count = len(after.items)
    if len(before.items) != count or not count:
        return None
    weights = after.weights or [1.0] * count
    earlier = before.weights or [1.0] * count
    where = after.where or [""] * count
    candidates = [index for index in range(count) if weights[index] and earlier[index]]
    indices = [index for index in candidates if where[index] not in leaked]
    return Pairs(
        [before.items[index] for index in indices],
        [after.items[index] for index in indices],
        [weights[index] for index in indices],
        [after.clusters[index] for index in indices] if after.clusters else [],
        len(candidates) - len(indices),
    )


def change_of(
    before: Measure | None, after: Measure | None, config: VerdictConfig, leaked: Collection[str], candidates: int
) -> Change:
    """Return a change with its interval and p-value, or with an outcome if no test is possible."""
    if before is None and after is not None and after.compared:
        before = replace(after, value=0.5, items=[0.5] * len(after.items))
    measure = after or before
    assert measure is not None  # noqa: S101 - the name comes from one of them
    values = before.value if before else None, after.value if after else None
    unit = measure.unit or scale_of([side for side in (before, after) if side])
    measure = replace(measure, unit=unit)
    plain = Change(*values, **{field.name: getattr(measure, field.name) for field in fields(Quantity)})
    pairs = pairs_of(before, after, leaked) if before and after else None
    if pairs is None:
        return plain
    plain = replace(
        plain, pairs=len(pairs.before), missing=pairs.missing, not_finite=pairs.not_finite, leaked=pairs.leaked,
        candidates=candidates,
    )  # fmt: skip
    if not pairs.before:
        return replace(plain, outcome=Outcome.unknown if pairs.leaked else None)
    if pairs.not_finite:
        # The mean is not a number either. If the training made it of the base's finite numbers, it is worse.
        broken = any(map(_not_finite, pairs.after))
        return replace(plain, outcome=Outcome.worse if broken else Outcome.unknown)
    if pairs.missing == len(pairs.before):
        return replace(plain, outcome=Outcome.unknown)
    return _add_interval(plain, measure, pairs, config)


def scale_of(measures: Sequence[Measure]) -> str:
    """Return the unit of a metric that names none: empty if all scores are shares."""
    first_measure = measures[0]
    is_score = first_measure.kind in {MeasureKind.content, MeasureKind.form} and not first_measure.exponential
    scores = (item for measure in measures for item in measure.items if item is not None and math.isfinite(item))
    return OWN_SCALE if is_score and any(not 0 <= score <= 1 for score in scores) else ""


def _hold_back(
    change: Change,
    before: Measure | None,
    after: Measure | None,
    config: VerdictConfig,
    leaked: Collection[str],
    candidates: int,
) -> Change:
    """Hold back a gain in form only, or one that a constant answer has too.

    A gain has to be significant over all: the base, the base's content, the best constant answer, and a rival. A
    primary measure whose content is significantly worse is worse, at half of the level, since that is a second way to
    be it.
    """
    if before is None or after is None or change.p_value is None or change.kind is not MeasureKind.content:
        return change

    def against(items: Items, after_items: Items, ways: int = 1) -> Change:
        base, tuned = (
            replace(after, items=values, value=mean(values, after.weights, exponential=after.exponential))
            for values in (items, after_items)
        )
        level = (1 - config.confidence) / ways
        return decided(change_of(base, tuned, replace(config, confidence=1 - level), leaked, candidates), level)

    change = replace(change, answers=after.answers)
    controls = {}
    size = len(after.items)
    if {len(before.content), len(after.content)} in ({size}, {0, size}):
        contents = before.content or before.items, after.content or after.items
        worse = against(*contents, ways=2) if change.primary and change.outcome is not Outcome.better else None
        is_worse = worse is not None and worse.outcome is Outcome.worse and change.outcome is not Outcome.worse
        controls["form"] = form = worse if worse and is_worse else against(*contents)
        change = replace(
            change, content_before=form.before, content_after=form.after, content_low=form.low, content_high=form.high
        )
        if is_worse:
            return replace(change, outcome=Outcome.worse, held_back="form")
    if len(after.constant_items) == size:
        name = "dealt" if after.constant == DEALT else "constant"
        controls[name] = against(after.constant_items, after.items)
        constant = controls[name].before
        change = replace(change, constant=constant, constant_answer=after.constant)
    if len(after.rival_items) == size:
        controls["rival"] = against(after.rival_items, after.items)
        change = replace(change, rival=controls["rival"].before, rival_name=after.rival)
    if change.outcome is not Outcome.better:
        return change
    for name, control in controls.items():
        if control.outcome is not Outcome.better:
            # What is better than the base, content included, has lost nothing.
            outcome = control.outcome if name == "form" else Outcome.no_worse
            if name == "rival" and control.outcome is Outcome.worse:
                return replace(change, outcome=outcome, held_back="beaten")
            return replace(change, outcome=outcome, held_back=name)
    certain = [change, *controls.values()]
    bounds = [
        bound
        for comparison in certain
        if (bound := comparison.low if change.higher_is_better else comparison.high) is not None
    ]
    return replace(change, beyond=min(bounds, key=abs) if controls and bounds else None)


def _add_interval(plain: Change, measure: Measure, pairs: Pairs, config: VerdictConfig) -> Change:
    """Add the values, the interval and the p-value."""
    confidence = 1 - (1 - measure.this_look(config.confidence)) / plain.candidates  # the best of several: Bonferroni
    tested = [
        _test(before, after, pairs, measure, confidence, config.resamples)
        for before, after in _fill_missing(pairs, measure)
    ]
    low, high = min(test.low for test in tested), max(test.high for test in tested)
    p_value = min(1.0, plain.candidates * max(test.p_value for test in tested))
    if measure.look_share < 1:
        p_value = 1 - (1 - p_value) ** (1 / measure.look_share)  # as `this_look`
    if len({test.rises for test in tested}) > 1:  # what is missing decides which way it goes
        p_value = 1.0
    before, after = _means(pairs, plain, measure)
    if measure.exponential:
        low, high = (before * math.expm1(min(bound, 700.0)) for bound in (low, high))
    share = _is_share(measure, pairs)
    if share:
        low, high = max(low, -1.0), min(high, 1.0)
    margin = config.margin * (1.0 if share else abs(before))
    clusters = len(set(pairs.clusters))
    if pairs.is_share and not clusters and not measure.exponential:
        least = least_difference(len(pairs.before), confidence)
    else:
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        least = (high - low) / 2 * (z + NormalDist().inv_cdf(POWER)) / z
        possible = least <= 1 if share else math.isfinite(least)
        least = least if possible else None
    bounds = (low, high) if math.isfinite(high - low) else (None, None)
    return replace(
        plain, before=before, after=after, low=bounds[0], high=bounds[1], p_value=p_value, least=least, margin=margin,
        clusters=clusters,
    )  # fmt: skip


def _fill_missing(pairs: Pairs, measure: Measure) -> list[tuple[list[float], list[float]]]:
    """Return the items with missing scores filled in twice: in the worst and in the best way for the training.

    Without a missing score there is one pair of lists.
    """
    scores = [value for value in (*pairs.before, *pairs.after) if value is not None]
    lowest, highest = min(scores), max(scores)
    if not pairs.missing:
        return [([*map(float, scores[: len(pairs.before)])], [*map(float, scores[len(pairs.before) :])])]
    if _is_share(measure, pairs):
        lowest, highest = 0.0, 1.0
    else:  # the scale itself is not known, and what has no score may lie beyond what was seen
        lowest, highest = lowest - (highest - lowest), highest + (highest - lowest)
    ends = [(highest, lowest), (lowest, highest)]
    return [
        ([base if value is None else value for value in pairs.before], [
            tuned if value is None else value for value in pairs.after
        ])
        for base, tuned in ends
    ]  # fmt: skip


@dataclass(frozen=True)
class Tested:
    """The bounds of a difference, the p-value of no difference, and the direction."""

    low: float
    high: float
    p_value: float
    rises: bool


def _test(
    before: list[float], after: list[float], pairs: Pairs, measure: Measure, confidence: float, resamples: int
) -> Tested:
    import numpy as np  # noqa: PLC0415 - which --help need not load

    from framework.evaluate.verdict.paired import (  # noqa: PLC0415 - as above
        flip_against_tail,
        flip_bound,
        mcnemar,
        of_means,
        of_shares,
        sign_flip,
    )

    before_array, after_array, weights = (np.array(part, dtype=np.float64) for part in (before, after, pairs.weights))
    level = 1 - confidence
    sums, weights = _sum_clusters(weights * (after_array - before_array), weights, pairs.clusters)
    # Scores of answers have a limit, though it may not be known; a perplexity has none.
    has_limit = measure.kind is MeasureKind.content and not measure.exponential
    largest = 1.0 if _is_share(measure, pairs) else math.inf if has_limit else 0.0
    if pairs.is_share and not pairs.clusters and not measure.exponential:
        better, worse = (after_array > before_array).sum(), (after_array < before_array).sum()
        low, high = map(float, of_shares(better, worse, len(before_array), confidence))
        p_value = float(mcnemar(better, worse))
    else:
        low, high = (float(bound[0]) for bound in of_means(sums[None], weights[None], confidence, largest))
        if largest:
            p_value = float(sign_flip(sums[None], resamples=resamples)[0])
        else:
            p_value = float(flip_against_tail(sums[None], weights[None], resamples=resamples, level=level)[0])
    if p_value <= level and low <= 0 <= high:
        # Of `count` items, a share of -ln(level) / count may lose all that a score can, and none of them be among these
        # (the rule of three). If that undoes the gain, the interval decides, which allows for what was not seen.
        unseen = -math.log(level) * largest * weights.sum() / len(before_array)
        if largest and (math.isinf(largest) or abs(sums.sum()) > unseen):  # the test says how far the mean is from 0
            bound = flip_bound(sums, weights, level=level, resamples=resamples)
            changed = int((sums != 0).sum())
            if max((sums > 0).sum(), (sums < 0).sum()) == changed:
                # Each swap of changes that all go one way has about the mean of the others, which bounds too little:
                # how many units change may be as few as the exact bound of that share says.
                fewer = least_share(changed, len(sums), confidence) * len(sums) / changed
                bound = math.copysign(min(abs(bound), fewer * abs(sums.sum() / weights.sum())), bound)
            low, high = (bound, high) if bound > 0 else (low, bound)
        else:  # a few rows that rise far may have been missed: the test supposes that as many fall far
            p_value = _least_level(sums, weights, largest)
    return Tested(low, high, p_value, bool(sums.sum() > 0))


def _least_level(sums: NDArray[np.float64], weights: NDArray[np.float64], largest: float) -> float:
    """Return the least level at which the interval of a mean excludes 0."""
    from framework.evaluate.verdict.paired import of_means  # noqa: PLC0415 - as above

    lower, upper = 0.0, 1.0
    while upper - lower > LEVEL_STEP:
        level = (lower + upper) / 2
        low, high = of_means(sums[None], weights[None], 1 - level, largest)
        lower, upper = (level, upper) if low[0] <= 0 <= high[0] else (lower, level)
    return upper


def _sum_clusters(
    sums: NDArray[np.float64], weights: NDArray[np.float64], clusters: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the sums and weights of the clusters."""
    import numpy as np  # noqa: PLC0415 - as above

    if not clusters:
        return sums, weights
    # What is swapped as a whole is a cluster, so each becomes one unit.
    _, numbers = np.unique(clusters, return_inverse=True)
    added = (np.bincount(numbers, weights=part).astype(np.float64) for part in (sums, weights))
    return next(added), next(added)


def _is_share(measure: Measure, pairs: Pairs) -> bool:
    """Whether the scores are shares, between 0 and 1 by definition."""
    scores = [value for value in (*pairs.before, *pairs.after) if value is not None]
    return (
        measure.kind in {MeasureKind.content, MeasureKind.form}
        and not (measure.unit or measure.exponential)
        and 0 <= min(scores) <= max(scores) <= 1
    )


def _means(pairs: Pairs, change: Change, measure: Measure) -> tuple[float, float]:
    """Return the measure before and after over the common items; the original values if these are all items."""
    if not (pairs.missing or pairs.leaked) and change.before is not None and change.after is not None:
        return change.before, change.after
    triples = [
        (base, tuned, weight)
        for base, tuned, weight in zip(pairs.before, pairs.after, pairs.weights, strict=True)
        if base is not None and tuned is not None
    ]
    base_scores, tuned_scores, weights = zip(*triples, strict=True)
    return (
        mean(base_scores, weights, exponential=measure.exponential),
        mean(tuned_scores, weights, exponential=measure.exponential),
    )


def decided(change: Change, level: float) -> Change:
    """Return a change with its outcome, if it was tested."""
    if change.aspect is Aspect.copying or change.kind is MeasureKind.change:
        return replace(change, outcome=None, p_value=None, least=None, margin=None)  # neither is better or worse
    p_value = change.p_value
    if p_value is None or change.outcome is not None:
        return change
    if p_value > level and change.low is not None and change.high is not None:
        # The test decides, so an interval that says more is drawn out to 0.
        change = replace(change, low=min(change.low, 0.0), high=max(change.high, 0.0))
    low, high = (-math.inf if change.low is None else change.low), (math.inf if change.high is None else change.high)
    if p_value <= level and not low <= 0 <= high:
        return replace(change, outcome=Outcome.better if (low > 0) is change.higher_is_better else Outcome.worse)
    fall = -low if change.higher_is_better else high
    # What is at its worst cannot get worse: that it did not is not a finding.
    ruled_out = change.margin is not None and fall <= change.margin and not at_worst(change)
    return replace(change, outcome=Outcome.no_worse if ruled_out else Outcome.undecided)


def at_worst(change: Change) -> bool:
    """Whether a share was at its worst before: 0 if higher is better, else 1."""
    share = change.kind in {MeasureKind.content, MeasureKind.form} and not change.unit
    return share and change.before == (0.0 if change.higher_is_better else 1.0)
