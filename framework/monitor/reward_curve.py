"""Whether rewards rose during a training, by the curves of their means."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from statistics import NormalDist, fmean

from framework.api.records import RewardRise, Step

MEAN = re.compile(r"rewards/(.+)/mean")
LEAST = 8
"""Logged steps from which a trend differs from noise."""


def rises(steps: Iterable[Step], confidence: float) -> dict[str, RewardRise]:
    """Return how each reward changed, by its name; those with too few logged steps are left out."""
    curves: dict[str, list[float]] = {}
    for step in steps:
        for name, value in step.loss_metrics.items():
            if match := MEAN.fullmatch(name):
                curves.setdefault(match[1], []).append(value)
    return {
        name: RewardRise(fmean(curve[: len(curve) // 3]), fmean(curve[-(len(curve) // 3) :]), _rose(curve, confidence))
        for name, curve in curves.items()
        if len(curve) >= LEAST
    }


def _rose(curve: Sequence[float], confidence: float) -> bool:
    """Test for a trend by the signs of all differences (Mann and Kendall), which no single step decides."""
    n = len(curve)
    signs = sum((later > value) - (later < value) for index, value in enumerate(curve) for later in curve[index + 1 :])
    return (signs - 1) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) > NormalDist().inv_cdf(confidence)
