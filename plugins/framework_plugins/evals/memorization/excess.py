"""How much more of one group of rows is recited than of another, with bounds that are valid for few rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, fmean


@dataclass(frozen=True)
class Excess:
    """The difference of two shares, and the bounds of its interval."""

    value: float
    low: float
    high: float


def excess(train: Sequence[float], held_out: Sequence[float], confidence: float) -> Excess:
    """Return the mean of `train` less that of `held_out`, whose values lie between 0 and 1.

    The bounds are Newcombe's for the difference of two independent shares: each share has a score interval, which is
    never empty, also if all or none of a few rows are recited (Newcombe 1998, Statistics in Medicine 17, 873-890,
    method 10). Values between 0 and 1 scatter less than zeros and ones with the same mean, so for them the interval is
    wider than it need be. Without held-out rows it is the interval of the one share.
    """
    one, low, high = wilson(train, confidence)
    if not held_out:
        return Excess(one, low, high)
    two, lower, higher = wilson(held_out, confidence)
    return Excess(
        one - two,
        one - two - sqrt((one - low) ** 2 + (higher - two) ** 2),
        one - two + sqrt((high - one) ** 2 + (two - lower) ** 2),
    )


def wilson(values: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Return the mean of values between 0 and 1, and the bounds of Wilson's score interval for a share."""
    count, share = len(values), fmean(values)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return share, max(0.0, middle - half), min(1.0, middle + half)
