"""Losses and gradients that are not finite, and exploding gradients."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from statistics import median

from framework.api import Step
from framework_plugins.monitor.evidence import Found


class NotANumber:
    """A loss that is not a finite number.

    One is enough: what it was computed from is lost, unless gradients are scaled for fp16, where the step is left out.
    A gradient norm alone that is infinite means just that, so it has to come many times in a row.
    """

    PATIENCE = 10
    """Log entries in a row without a finite gradient: the scale of fp16 starts so high that the first few have none."""

    def __init__(self) -> None:
        self.count = 0

    def check(self, step: Step) -> Found | None:
        """Say what is not a number."""
        if not math.isfinite(step.loss):
            return Found(f"the loss is {step.loss}")
        self.count = 0 if math.isfinite(step.grad_norm) else self.count + 1
        if self.count >= self.PATIENCE:
            return Found(f"the gradients were not finite in {self.count} log entries in a row")
        return None

    def reset(self) -> None:
        self.count = 0


class ExplodingGradient:
    """Gradient norms that are many times what they were, and above what they are clipped to.

    A single one is not an explosion: clipping is made for it. It takes five in a row above all of those before. Of 35
    norms in any order, whatever their distribution, the last five are the highest once in 325,000 times; over the
    looks of 600 log entries that adds up to one training in 250.
    """

    WINDOW, MIN_ENTRIES, LAST_ENTRIES = 30, 8, 5
    """Entries that it is compared with, the fewest of them, and those that are compared."""
    FACTOR = 10.0
    """How many times the median before."""

    def __init__(self, max_grad_norm: float) -> None:
        self.max_grad_norm = max_grad_norm
        self.norms: deque[float] = deque(maxlen=self.WINDOW + self.LAST_ENTRIES)

    def check(self, step: Step) -> Found | None:
        """Say whether they explode."""
        if not math.isfinite(step.grad_norm):
            return None
        self.norms.append(step.grad_norm)
        earlier = len(self.norms) - self.LAST_ENTRIES
        if earlier < self.MIN_ENTRIES:
            return None
        before, now = list(islice(self.norms, earlier)), list(islice(self.norms, earlier, None))
        usual = median(before)
        if min(now) <= max(*before, self.FACTOR * usual, self.max_grad_norm):
            return None
        return Found(f"the gradient norm is about {median(now):.3g}, and was {usual:.3g} before")

    def reset(self) -> None:
        self.norms.clear()
