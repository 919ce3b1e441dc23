"""Tests and intervals for pairs: the same things asked before and after.

A unit is what may be swapped as a whole: a pair, or a cluster of similar pairs. Each unit has the weighted sum
`s` of its differences and its weight `w`; the estimate is sum(s) / sum(w).

- `sign_flip` tests: were the training without effect, before and after could be swapped in each unit, so each sign of
  `s` would be as likely as the other (Fisher, The Design of Experiments, 1935, section 21). On 0/1 scores this is the
  exact McNemar test, which has a closed form, `mcnemar`.
- `flip_against_tail` is the same for numbers without a scale, such as losses, whose differences may be skewed.
- `of_shares` is the interval of Bonett and Price (2012, Journal of Educational and Behavioral Statistics 37, 479-488)
  for a difference of two paired shares, with the quantile of Student's t.
- `of_means` is the wider on each side of two intervals for a mean: Student's t, and one that allows for what was not
  seen. For scores with a limit, as those of answers, that is Bonett and Price's: what was not seen is at most the
  limit. For others, such as losses, it is the t with Hall's correction for skew (Hall 1992, Journal of the Royal
  Statistical Society B 54, 221-228).
- `flip_bound` is the bound nearer to 0 of the interval that the sign-flip test implies.
- `joint_level` is the level at which each of several comparisons has to be tested for all of them to hold together.

All functions take arrays of shape (..., units) and work along the last axis, so a simulation needs no loop.
`benchmarks/verdict.py` measures how often each of them is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from framework.util.shares import least_share

Floats = NDArray[np.float64]
Numbers = Floats | NDArray[np.int64]
Bounds = tuple[Floats, Floats]
EXACT = 16
"""Up to this many units that differ, all patterns of signs are counted: 65,536."""
MOST_UNITS = 2000
"""More units than this are put together, by chance: the test stays valid, and costs no more."""
AT_ONCE = 4_000_000
"""Signs that are held in memory at once."""
SEED = 0
"""Of what is drawn: the same scores have the same result."""
TIE = 1e-9
"""Sums that differ by less than this share are equal: rounding decides nothing."""
TAIL = 8.0
"""Size of the unit that `flip_against_tail` adds: it keeps 7.5% in all skewed cells of benchmarks/verdict.py."""
TAIL_LEVEL = 0.05
"""The level that it is for; a lower one needs a larger unit."""
TIES = 0.25
"""Share of pairs without a difference from which on a mean is treated as one of rare differences."""
UNSEEN = math.inf
"""The `largest` difference of a score whose limit is not known: the largest that was seen."""


def mcnemar(better: NDArray[np.int64], worse: NDArray[np.int64]) -> Floats:
    """Return the two-sided p-values of the exact McNemar test.

    Args:
        better: pairs in which after is 1 and before is 0.
        worse: pairs in which it is the other way round. Pairs without a difference tell nothing and do not count.
    """
    differing, larger = np.atleast_1d(better + worse), np.atleast_1d(np.maximum(better, worse))
    values = np.ones(differing.shape)
    for count in np.unique(differing[differing > 0]).tolist():
        logs = [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
        # In logarithms: binomial coefficients of a thousand pairs exceed a float.
        at_least = np.cumsum(np.exp(np.array(logs[::-1]) - count * math.log(2)))[::-1]
        mask = differing == count
        values[mask] = np.minimum(1.0, 2 * at_least[larger[mask]])
    return values.reshape(np.shape(better + worse))


def sign_flip(sums: Floats, *, resamples: int) -> Floats:
    """Return the two-sided p-values of the sign-flip test of the sum of `sums`, shape (..., units).

    Exact up to 16 units. With more, `resamples` patterns of signs are drawn, always the same ones, and the
    observed one counts as one of them, so that the test keeps its level (Phipson & Smyth 2010, Statistical Applications
    in Genetics and Molecular Biology 9, 39).
    """
    rows = sums.reshape(-1, sums.shape[-1])
    if not rows.shape[-1]:
        return np.ones(sums.shape[:-1])
    rows = _merge_units(rows)
    units = rows.shape[-1]
    observed = np.abs(rows.sum(axis=-1))
    limit = observed - TIE * np.abs(rows).sum(axis=-1)
    reached, total = np.zeros(len(rows)), 0
    for bits in _sign_patterns(units, resamples, at_once=max(units, len(rows))):
        reached += (np.abs((1.0 - 2.0 * bits) @ rows.T) >= limit).sum(axis=0)
        total += len(bits)
    # Of drawn patterns the observed one is counted too, or a p-value could be 0.
    values = reached / total if units <= EXACT else (reached + 1) / (total + 1)
    return values.reshape(sums.shape[:-1])


def flip_against_tail(sums: Floats, weights: Floats, *, resamples: int, level: float = TAIL_LEVEL) -> Floats:
    """Return p-values of the sign-flip test that allow for many units a little better and few much worse.

    There the mean may be unchanged, and the few are still missed so often that the many look like a gain. So a change
    also has to be significant with one more unit that goes against it, by `TAIL` times the amount by which the units
    against the mean reach further than the others, divided by the root of the effective number of units. If both tails
    have the same length, that unit is 0. The shapes are those of `of_means`.
    """
    total, weight = sums.sum(axis=-1, keepdims=True), weights.sum(axis=-1, keepdims=True)
    squares = (weights**2).sum(axis=-1, keepdims=True)
    direction = np.where(total < 0, -1.0, 1.0)
    residuals = direction * (sums - total / weight * weights)
    # A heavy unit near the mean must not hide a tail of the differences themselves, so these are compared too.
    typical = np.sqrt(squares / sums.shape[-1])
    reach = np.maximum(_tail_excess(residuals), typical * _tail_excess(residuals / weights))
    # The rarer what the test is to rule out, the further beyond the seen units it lies. By simulation, as `TAIL`.
    tail = TAIL * max(1.0, math.log(level) / math.log(TAIL_LEVEL)) ** 2
    extra_unit = -tail * direction * reach * np.sqrt(squares) / weight
    plain = sign_flip(sums, resamples=resamples)
    return np.maximum(plain, sign_flip(np.concatenate([sums, extra_unit], axis=-1), resamples=resamples))


def _tail_excess(residuals: Floats) -> Floats:
    """Return by how much the tail below 0 is longer than the one above it."""
    excess = -residuals.min(axis=-1, keepdims=True) - residuals.max(axis=-1, keepdims=True)
    return np.where(excess > TIE * np.abs(residuals).max(axis=-1, keepdims=True), excess, 0.0)


def _sign_patterns(units: int, resamples: int, *, at_once: int) -> Iterator[NDArray[np.int64] | NDArray[np.int8]]:
    """Give patterns of signs, 1 for a swapped unit, in batches."""
    random = np.random.default_rng(SEED)
    total = 2 ** (units - 1) if units <= EXACT else resamples  # the other half are mirror images
    step = max(1, AT_ONCE // at_once)
    for start in range(0, total, step):
        size = min(step, total - start)
        if units <= EXACT:
            yield (np.arange(start, start + size)[:, None] >> np.arange(units)) & 1
        else:
            yield random.integers(0, 2, (size, units), dtype=np.int8)


def flip_bound(sums: Floats, weights: Floats, *, level: float, resamples: int) -> float:
    """Return the bound of the mean nearer to 0 at which `sign_flip` of `sums`, shape (units,), is at most `level`.

    It is the farthest mean from the observed one that the test does not reject, so it is never 0.
    """
    differing = sums != 0
    if differing.sum() <= MOST_UNITS:
        # A unit without a difference may be swapped together with any other; so the units are those of the test of 0.
        tied_weight = weights[~differing].sum() / differing.sum()
        sums, weights = sums[differing], weights[differing] + tied_weight
    stacked = _merge_units(np.stack([sums, weights]))
    units, (values, sizes) = stacked.shape[-1], stacked
    direction = np.sign(values.sum())
    means = []
    for bits in _sign_patterns(units, resamples, at_once=units):
        # A pattern reaches the observed sum of `value - mean * size` if the mean of what it swaps, or of the rest, is
        # not above `mean`.
        swapped, weight = bits @ (direction * values), bits @ sizes
        parts = [(swapped, weight), (direction * values.sum() - swapped, sizes.sum() - weight)]
        means.append(np.min([_mean_or_least(*part) for part in parts], axis=0))
    sorted_means = np.sort(np.concatenate(means))
    total = len(sorted_means)
    rank = level * total if units <= EXACT else level * (total + 1) - 1
    return float(direction * sorted_means[math.floor(rank + TIE)])


def joint_level(sums: Floats, weights: Floats, *, level: float, resamples: int, pairs: bool = True) -> float:
    """Return the level of one comparison at which all comparisons of several systems together have `level`.

    It is that of the largest of their statistics, each normal, with the correlations that the units show: systems with
    similar answers count as nearly one (the multiplier bootstrap of the maximum: Chernozhukov, Chetverikov & Kato 2013,
    Annals of Statistics 41, 2786-2819). The result lies between Bonferroni's level and `level`.

    Args:
        sums: the weighted sums of the scores, shape (systems, units).
        weights: of the units.
        level: of all comparisons together.
        resamples: draws of normal multipliers of the units.
        pairs: each system with each other; otherwise each alone with its own mean.
    """
    systems, units = sums.shape
    residuals = sums - (sums.sum(axis=1) / weights.sum())[:, None] * weights
    scale = TIE * float(np.abs(sums).sum())
    random = np.random.default_rng(SEED)
    step = max(1, AT_ONCE // max(systems, units))
    largest = []
    for start in range(0, resamples, step):
        draws = random.standard_normal((min(step, resamples - start), units)) @ residuals.T
        maxima = np.zeros(len(draws))
        for system in range(systems if pairs else 1):
            # The differences from one to those after it; or the sums themselves.
            sizes = np.sqrt(((residuals[system + 1 :] - residuals[system] if pairs else residuals) ** 2).sum(axis=1))
            values = draws[:, system + 1 :] - draws[:, system, None] if pairs else draws
            if (differs := sizes > scale).any():
                np.maximum(maxima, np.abs(values[:, differs] / sizes[differs]).max(axis=1), out=maxima)
        largest.append(maxima)
    reached = float(np.quantile(np.concatenate(largest), 1 - level))
    comparisons = max(1, systems * (systems - 1) // 2 if pairs else systems)
    return float(min(level, max(level / comparisons, 2 * NormalDist().cdf(-reached))))


def _mean_or_least(total: Floats, weight: Floats) -> Floats:
    """Return a mean; minus infinity without values."""
    return np.divide(total, weight, out=np.full_like(total, -np.inf), where=weight > 0)


def _merge_units(rows: Floats) -> Floats:
    units = rows.shape[-1]
    differing = np.any(rows != 0, axis=0)
    if differing.sum() <= MOST_UNITS:
        return rows[:, differing] if differing.any() else rows[:, :1]
    order = np.random.default_rng(SEED).permutation(units)
    # A sum of units may be swapped as they may: its sign is as likely under the hypothesis.
    cells = np.array_split(order, MOST_UNITS)
    return np.stack([rows[:, cell].sum(axis=1) for cell in cells], axis=1)


def of_shares(better: Numbers, worse: Numbers, count: int, confidence: float) -> Bounds:
    """Return the bounds of a difference of two paired shares, by Bonett and Price with Student's quantile.

    If all changes go one way, the difference is a share, so they also include the exact bounds of Clopper and Pearson.
    One pair is added to those that got better and one to those that got worse, so the interval is never without width.
    With the normal quantile, the coverage of up to 20 pairs falls to 92% for a few true differences.

    Args:
        better: how many of the pairs went from 0 to 1.
        worse: how many went from 1 to 0.
        count: how many pairs there are.
        confidence: such as 0.95.
    """
    quantile = student(confidence, np.asarray(count + 1))  # one less than the pairs with the two that are added
    low, high = (np.array(bound) for bound in _with_pseudo_pairs(better - worse, better + worse, 1.0, count, quantile))
    one_way = (np.minimum(better, worse) == 0) & (better != worse)
    for changed in map(int, np.unique((better - worse)[one_way])):
        complement = count - abs(changed)  # whose share has a lower bound too
        lower, upper = least_share(abs(changed), count, confidence), 1 - least_share(complement, count, confidence)
        low_bound, high_bound = (lower, upper) if changed > 0 else (-upper, -lower)
        mask = one_way & (better - worse == changed)
        low, high = np.where(mask, np.minimum(low, low_bound), low), np.where(mask, np.maximum(high, high_bound), high)
    return low, high


def _with_pseudo_pairs(
    total: Numbers, squares: Numbers, size: Floats | float, count: int, quantile: Floats | float
) -> Bounds:
    """Return the bounds of a mean difference after a pair with `size` and one with `-size` were added."""
    middle = total / (count + 2)
    spread = np.maximum((squares + 2 * size**2) / (count + 2) - middle**2, 0.0)
    half = quantile * np.sqrt(spread / (count + 2))
    return middle - half, middle + half


def of_means(sums: Floats, weights: Floats, confidence: float, largest: float) -> Bounds:
    """Return the bounds of sum(sums) / sum(weights), both of shape (..., units).

    Args:
        sums: the weighted sum of the differences of each unit.
        weights: the weight of each unit.
        confidence: such as 0.95.
        largest: the largest difference that a pair can have, `UNSEEN` if there is a limit that is not known, 0 if there
            is none.
    """
    count = sums.shape[-1]
    total_weight = weights.sum(axis=-1)
    mean = sums.sum(axis=-1) / total_weight
    if count == 1:
        return np.full_like(mean, -np.inf), np.full_like(mean, np.inf)
    # A few heavy units decide a weighted mean: it has as many degrees of freedom as equal weights of that scatter.
    effective = np.maximum(total_weight**2 / (weights**2).sum(axis=-1), 1.0 + 1e-9)
    residuals = sums - mean[..., None] * weights
    square = (residuals**2).sum(axis=-1)
    error = np.sqrt(square * count / (count - 1)) / total_weight
    quantile = student(confidence, np.maximum(effective - 1, 1.0))
    low, high = mean - quantile * error, mean + quantile * error
    if count > 2 and not largest:  # noqa: PLR2004 - the skew takes three
        cubes = (residuals**3).sum(axis=-1) * count**2 / ((count - 1) * (count - 2))
        deviation = np.sqrt(square / (count - 1))
        skew = np.divide(cubes / count, deviation**3, out=np.zeros_like(mean), where=deviation > 0)
        shift, scale = skew / (6 * count), error * math.sqrt(count)
        reach = quantile / math.sqrt(count)
        low = np.minimum(low, mean - scale * _solve_hall(reach - shift, skew))
        high = np.maximum(high, mean - scale * _solve_hall(-reach - shift, skew))
    per = weights.mean(axis=-1)
    size = largest * per if 0 < largest < UNSEEN else np.abs(sums).max(axis=-1)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    lower, higher = _with_pseudo_pairs(sums.sum(axis=-1), (sums**2).sum(axis=-1), size, count, z)
    # Without a limit where differences are rare, or all are equal: then the interval of a mean has no width.
    rare = ((sums == 0).mean(axis=-1) >= TIES) | (square <= TIE * (sums**2).sum(axis=-1)) | (largest > 0)
    return np.where(rare, np.minimum(low, lower / per), low), np.where(rare, np.maximum(high, higher / per), high)


def _solve_hall(value: Floats, skew: Floats) -> Floats:
    """Solve t + skew t^2 / 3 + skew^2 t^3 / 27 = value, Hall's cubic, for t."""
    is_symmetric = np.abs(skew) < 1e-6  # noqa: PLR2004 - then the solution is the value itself
    safe_skew = np.where(is_symmetric, 1.0, skew)
    return np.where(is_symmetric, value, (np.cbrt(1 + safe_skew * value) - 1) * 3 / safe_skew)


def student(confidence: float, freedom: Floats) -> Floats:
    """Return the two-sided quantile of Student's t, whole degrees of freedom to four digits, others within 3%.

    Hill's algorithm 396 (1970, Communications of the ACM 13, 619-620), as R's `qt` has it; one and two degrees are
    exact.
    """
    tail = 1 - confidence
    normal = NormalDist().inv_cdf(1 - tail / 2)
    n = np.asarray(freedom, dtype=np.float64)
    a = 1 / (n - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * np.sqrt(a * math.pi / 2) * n
    y = (d * tail) ** (2 / n)
    x = np.full_like(n, -normal)
    far = y > 0.05 + a
    y2 = x * x
    c2 = np.where(n < 5, c + 0.3 * (n - 4.5) * (x + 0.6), c)  # noqa: PLR2004 - Hill's
    c2 = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c2
    near_y = (((((0.4 * y2 + 6.3) * y2 + 36) * y2 + 94.5) / c2 - y2 - 3) / b + 1) * x
    near_y = np.expm1(a * near_y * near_y)
    with np.errstate(divide="ignore", invalid="ignore"):
        far_y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (
            n + 2
        ) + 1 / y
    result = np.sqrt(n * np.where(far, near_y, far_y))
    result = np.where(n <= 1, math.tan(math.pi / 2 * (1 - tail)), result)
    return np.where(n == 2, math.sqrt(2 / (tail * (2 - tail)) - 2), result)  # noqa: PLR2004 - exact
