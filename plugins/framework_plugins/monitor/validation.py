"""The rule for the validation loss, in comparison with the training loss."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

from framework.api import Step


class RisingEvalLoss:
    """A validation loss above the best one before, while the training loss is not higher than it was then.

    The rows are the same each time, so there is no noise but that of the weights. One large rise is enough, since many
    runs have a validation for each epoch and few epochs; of small ones it takes two in a row.
    """

    WINDOW = 10
    """Training losses that are compared, those just before each of the two validations."""
    LARGE, SMALL = 1.1, 1.02
    """How many times the best."""
    LARGE_NATS, SMALL_NATS = 0.05, 0.01
    """How much higher at least, in nats: where all is known, losses of no weight are far apart."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW)
        self.best = math.inf
        self.best_step = 0
        self.trained = math.inf
        """The training loss before the best validation."""
        self.small = 0

    def check(self, step: Step) -> str:
        """Say whether the validation loss rises."""
        if math.isfinite(step.loss):
            self.losses.append(step.loss)
        if step.eval_loss is None or not self.losses:
            return ""
        loss, trained = step.eval_loss, median(self.losses)
        if loss < self.best:
            self.best, self.best_step, self.trained, self.small = loss, step.step, trained, 0
            return ""
        self.small = self.small + 1 if self._above(loss, self.SMALL, self.SMALL_NATS) else 0
        rises = self.small > 1 or self._above(loss, self.LARGE, self.LARGE_NATS)
        if not rises or trained > self.trained:
            return ""
        return (
            f"the validation loss rose from {self.best:.3g} at step {self.best_step} to {loss:.3g}, while the training "
            f"loss went from {self.trained:.3g} to {trained:.3g}"
        )

    def _above(self, loss: float, times: float, nats: float) -> bool:
        return loss > max(times * self.best, self.best + nats)

    def reset(self) -> None:
        """Start again from here; the best one stays the best."""
        self.small = 0
