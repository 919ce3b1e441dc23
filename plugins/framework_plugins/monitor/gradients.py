"""Losses and gradients that are not finite, and exploding gradients."""

from __future__ import annotations

import math
from collections import deque
from itertools import islice
from statistics import median

from framework.api import Step
from framework_plugins.monitor.losses import spread

TINY = 1e-9
"""A norm below is taken for this: 0 has no logarithm."""


class NotANumber:
    """A loss that is no finite number.

    One is enough: what it was computed from is lost, unless gradients are scaled for fp16, where the step is left out.
    A gradient norm alone that is infinite means just that, so it has to come many times in a row.
    """

    PATIENCE = 10
    """Log entries in a row without a finite gradient: the scale of fp16 starts so high that the first few have none."""

    def __init__(self) -> None:
        self.count = 0

    def check(self, step: Step) -> str:
        """Say what is no number."""
        if not math.isfinite(step.loss):
            return f"the loss is {step.loss}"
        self.count = 0 if math.isfinite(step.grad_norm) else self.count + 1
        if self.count >= self.PATIENCE:
            return f"the gradients were not finite in {self.count} log entries in a row"
        return ""

    def reset(self) -> None:
        self.count = 0


class ExplodingGradient:
    """Gradient norms that are many times what they were, and above what they are clipped to.

    A single one is no explosion: clipping is made for it. It takes the median of the last five, or the last two where
    they are far above.
    """

    WINDOW, LEAST, LAST, FAST = 30, 10, 5, 2
    """Entries that it is compared with, the fewest of them, and those that are compared, or fewer."""
    TIMES, FAR = 10.0, 100.0
    """How many times the median before. Rows differ by a factor of two or three."""
    DEVIATIONS = 6.0
    """How many standard errors above it, as logarithms: where all is known, one row in many has a gradient."""

    def __init__(self, max_grad_norm: float) -> None:
        self.max_grad_norm = max_grad_norm
        self.norms: deque[float] = deque(maxlen=self.WINDOW + self.LAST)

    def check(self, step: Step) -> str:
        """Say whether they explode."""
        if not math.isfinite(step.grad_norm):
            return ""
        self.norms.append(step.grad_norm)
        for last, times in ((self.LAST, self.TIMES), (self.FAST, self.FAR)):
            earlier = len(self.norms) - last
            if earlier < self.LEAST:
                continue
            before = median(islice(self.norms, earlier))
            now = list(islice(self.norms, earlier, None))
            level = median(now) if last == self.LAST else min(now)
            noise = spread([math.log(max(norm, TINY)) for norm in islice(self.norms, earlier)]) / math.sqrt(last)
            if level > max(times * before, before * math.exp(self.DEVIATIONS * noise), self.max_grad_norm):
                return f"the gradient norm is about {level:.3g}, and was {before:.3g} before"
        return ""

    def reset(self) -> None:
        self.norms.clear()
