"""The exact bound of a share."""

from __future__ import annotations

import math

CLOSE = 1e-9
"""How close the bound is."""


def least_share(seen: int, count: int, confidence: float) -> float:
    """Return the lower bound of a share, from `seen` of `count` observations.

    It is exact (Clopper & Pearson 1934, Biometrika 26, 404-413): the share at which as many or more are seen in half of
    the remaining cases. So `1 - least_share(count - seen, …)` is the upper bound, and a bound on one side alone with
    0.95 is that with a confidence of 0.9.
    """
    import numpy as np  # noqa: PLC0415 - which --help need not load

    tail, lower, upper = (1 - confidence) / 2, 0.0, seen / count
    counts = np.arange(seen, count + 1)
    logs = np.array([math.lgamma(k + 1) for k in range(count + 1)])
    ways = logs[count] - logs[counts] - logs[count - counts]
    while upper - lower > CLOSE:
        share = (lower + upper) / 2
        as_many = np.exp(ways + counts * math.log(share) + (count - counts) * math.log1p(-share)).sum()
        lower, upper = (lower, share) if as_many > tail else (share, upper)
    return lower
