"""A threshold that keeps a promised share of errors.

Thresholds are tested from the surest answers on, each by the bound of Clopper and Pearson (1934, Biometrika 26,
404-413) at the full level, and the first one that fails ends the sequence: so all of them together keep the level
(Angelopoulos et al., "Learn then test", arXiv 2110.01052, with one sequence).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from framework.api import least_share

TESTED = 100
"""Thresholds of a sequence."""


def error_bound(wrong: int, total: int, confidence: float) -> float:
    """Return the upper bound of a share of errors, on that side alone."""
    return 1 - least_share(total - wrong, total, 2 * confidence - 1)


def answers_needed(max_error: float, confidence: float) -> int:
    """Return how many answers without an error it takes to promise that at most `max_error` of them are wrong."""
    return math.ceil(math.log(1 - confidence) / math.log1p(-max_error))


def safe_threshold(
    sure: NDArray[np.float64], wrong: NDArray[np.bool_], max_error: float, confidence: float
) -> float | None:
    """Return the least value of `sure` from which on at most `max_error` of the answers are wrong.

    Args:
        sure: how sure the model is of each answer, on any scale; the answers are independent.
        wrong: whether it is wrong.
        max_error: the promise.
        confidence: how often it is kept, over draws of the answers.

    Returns:
        The threshold; None if nothing can be promised.
    """
    total, least = len(sure), answers_needed(max_error, confidence)
    # The first threshold has room for a few errors, or a single one among the surest would end the sequence at once.
    begin = max(2 * least, total // 3)
    if total < least:
        return None
    descending = np.sort(sure)[::-1]
    threshold = None
    for size in sorted({*np.linspace(min(begin, total), total, TESTED).astype(int).tolist()}):
        kept = sure >= descending[size - 1]
        if error_bound(int(wrong[kept].sum()), int(kept.sum()), confidence) > max_error:
            break
        threshold = float(descending[size - 1])
    return threshold
