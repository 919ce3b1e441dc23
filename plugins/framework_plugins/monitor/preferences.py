"""The rule for trainings of preferences: chosen answers that become unlikely while the margin to the rejected grows."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, stdev

from framework.api import Step
from framework_plugins.monitor.evidence import Symptom, deviations, spent

CHOSEN, LOG_PROBS, MARGIN = "rewards/chosen", "logps/chosen", "rewards/margins"


class FallingLikelihood:
    """Chosen answers whose log-probability fell by a share of its start, while the margin of the rewards is above 0.

    The reward of an answer is beta times how much likelier it became, so both come from the same rows.

    Args:
        beta: the factor of the log-probabilities.
    """

    WINDOW = 10
    """Entries that are compared with the start."""
    SHARE, ERRORS = 0.25, 2.0
    """By how much of its log-probability an answer became unlikelier, on average, and by how many standard errors the
    mean is above that."""

    def __init__(self, beta: float) -> None:
        self.beta = beta
        self.shares: deque[float] = deque(maxlen=self.WINDOW)
        self.looks = 0

    def check(self, step: Step) -> Symptom | None:
        """Say whether the chosen answers became unlikely."""
        reward, log_probs, margin = (step.loss_metrics.get(name) for name in (CHOSEN, LOG_PROBS, MARGIN))
        if reward is None or log_probs is None or margin is None:
            return None
        moved = reward / self.beta
        if not math.isfinite(moved) or log_probs - moved >= 0:
            return None
        self.shares.append(moved / (log_probs - moved))
        if len(self.shares) < self.WINDOW:
            return None
        self.looks += 1
        error = stdev(self.shares) / math.sqrt(self.WINDOW)
        share = fmean(self.shares)
        if (
            margin <= 0
            or share < self.SHARE + self.ERRORS * error
            or share <= deviations(spent(self.looks), self.WINDOW - 1) * error
        ):
            return None
        return Symptom(
            f"chosen answers are unlikelier than before the training, their log-probability fell by {share:.0%}, while "
            f"the margin of the rewards is {margin:.2g}: the model learns to avoid, not to answer"
        )

    def reset(self) -> None:
        """Forget the earlier entries."""
        self.shares.clear()
