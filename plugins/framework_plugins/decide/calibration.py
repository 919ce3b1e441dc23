"""How far probabilities can be trusted: proper scores, calibration errors, a temperature, and a promised error.

The promise is Clopper and Pearson's bound (1934, Biometrika 26, 404-413) along a fixed sequence of thresholds, from the
surest rows on: each is tested at the full level, and the first one that fails ends it, so that all of them together
keep the level (Angelopoulos et al., "Learn then test", arXiv 2110.01052, with one sequence).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from framework.api import least_share

Array = NDArray[np.float64]
Places = NDArray[np.int64]
BINS = 10
"""Bins of a calibration error, with as many rows each."""
DRAWS = 400
"""Draws for an interval."""
LEAST_FITTED = 20
"""Fewer rows say nothing about a temperature."""
COLDEST, HOTTEST = 0.05, 20.0
TRIED = 60
"""Temperatures of each of two grids, of which the second lies around the best of the first."""
STEPS = 100
"""Thresholds of the sequence."""


def probabilities(log_probs: Array, temperature: float = 1.0) -> Array:
    """Return the probabilities of options, of which a row has -inf after its last."""
    scaled = log_probs / temperature
    scaled = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray(scaled / scaled.sum(1, keepdims=True))


def log_scores(log_probs: Array, right: Places, temperature: float = 1.0) -> Array:
    """Return the log-probability of the right option in each row; -inf becomes that of the smallest number."""
    chosen = probabilities(log_probs, temperature)[np.arange(len(right)), right]
    return np.asarray(np.log(np.maximum(chosen, np.finfo(float).tiny)))


def brier_scores(shares: Array, right: Places) -> Array:
    """Return the sum of squares over the options of each row, from 0 to 2."""
    target = np.zeros_like(shares)
    target[np.arange(len(right)), right] = 1
    return np.asarray(((shares - target) ** 2).sum(1))


def ranked_scores(shares: Array, right: Places) -> Array:
    """Return the ranked probability score of each row: Brier's of the cumulated options of a scale.

    Epstein 1969, Journal of Applied Meteorology 8, 985-987.
    """
    reached = np.arange(shares.shape[1]) >= right[:, None]
    return np.asarray(((shares.cumsum(1) - reached) ** 2).sum(1))


def fit_temperature(log_probs: Array, right: Places) -> float:
    """Return the temperature with the best log score; 1 for few rows. One number cannot fit much of them."""
    if len(right) < LEAST_FITTED:
        return 1.0

    low, best, high = COLDEST, 1.0, HOTTEST
    for _ in range(2):
        grid = np.geomspace(low, high, TRIED)
        at = int(np.argmax([log_scores(log_probs, right, temperature).mean() for temperature in grid]))
        low, best, high = grid[max(at - 1, 0)], float(grid[at]), grid[min(at + 1, TRIED - 1)]
    return best


def bins(sure: Array) -> list[Places]:
    """Return the rows of each bin, from the least sure on."""
    return [places for places in np.array_split(np.argsort(sure, kind="stable"), BINS) if len(places)]


def calibration_error(sure: Array, correct: Array) -> float:
    """Return the expected calibration error: by how much probability and accuracy differ, in bins of equal size."""
    gaps = (len(rows) * abs(sure[rows].mean() - correct[rows].mean()) for rows in bins(sure))
    return float(sum(gaps) / len(sure))


def error_interval(sure: Array, correct: Array) -> tuple[float, float, float]:
    """Return the 95 % interval of the calibration error over rows, and what a perfectly calibrated model would have."""
    draw = np.random.default_rng(0)
    seen, chance = [], []
    for _ in range(DRAWS):
        rows = draw.integers(0, len(sure), len(sure))
        seen.append(calibration_error(sure[rows], correct[rows]))
        chance.append(calibration_error(sure[rows], (draw.random(len(rows)) < sure[rows]).astype(float)))
    low, high = np.quantile(seen, [0.025, 0.975])
    return float(low), float(high), float(np.mean(chance))


def rows_needed(max_error: float, confidence: float) -> int:
    """Return how many rows without a single error show that at most `max_error` is wrong."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error))


def most_wrong(wrong: int, total: int, confidence: float) -> float:
    """Return the upper bound of a share of errors, on that side alone."""
    return 1 - least_share(total - wrong, total, 2 * confidence - 1)


def promised_threshold(sure: Array, correct: Array, max_error: float, confidence: float) -> float | None:
    """Return from which probability on at most `max_error` of the decisions are wrong; None if nothing shows that.

    Args:
        sure: the probability of the decision in each row, by a model that no row was fitted to.
        correct: whether it is right.
        max_error: the promise.
        confidence: how often it is kept.
    """
    least = rows_needed(max_error, confidence)
    # Where the sequence begins is chosen before the labels are seen. With few rows a single error ends it at once.
    start = min(len(sure), max(2 * least, len(sure) // 3))
    best = None
    if len(sure) < least:
        return None
    ordered = np.sort(sure)[::-1]
    for number in np.unique(np.linspace(start, len(sure), STEPS).astype(int)):
        threshold = float(ordered[number - 1])
        chosen = sure >= threshold
        wrong = int((1 - correct[chosen]).sum())
        if most_wrong(wrong, int(chosen.sum()), confidence) > max_error:
            break
        best = threshold
    return best
