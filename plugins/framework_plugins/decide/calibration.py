"""How far probabilities can be trusted: proper scores, calibration errors, and a temperature."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
