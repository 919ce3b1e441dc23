"""Losses and gradients that are not finite, and exploding gradients."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from itertools import islice
from statistics import median

from framework.api import Step
from framework_plugins.monitor.evidence import Symptom


class NotANumber:
    """A loss that is not a finite number.

    One is enough: what it was computed from is lost, unless gradients are scaled for fp16, where the step is left out.
    A gradient norm alone that is infinite means just that, so it has to come many times in a row.
    """

    PATIENCE = 10
    """Log entries in a row without a finite gradient: the scale of fp16 starts so high that the first few have none."""

    def __init__(self) -> None:
        self.count = 0

    def check(self, step: Step) -> Symptom | None:
        """Return the symptom if loss or gradient is not a finite number."""
        if not math.isfinite(step.loss):
            return Symptom(f"the loss is {step.loss}")
        self.count = 0 if math.isfinite(step.grad_norm) else self.count + 1
        if self.count >= self.PATIENCE:
            return Symptom(f"the gradients were not finite in {self.count} log entries in a row")
        return None

    def reset(self) -> None:
        self.count = 0


class ExplodingGradient:
    """Gradient norms that are many times the earlier ones, and above the limit of clipping.

    A single one is not an explosion: clipping is made for it. It takes five in a row above all of those before. Of 35
    norms in any order, whatever their distribution, the last five are the highest once in 325,000 times; over the
    looks of 600 log entries that adds up to one training in 250. Norms that grow slowly are an issue if the loss does
    not fall: each of the last ones is above each of the first ones after the warm-up.

    Args:
        max_grad_norm: the limit that they are clipped to.
        warmup: how many of all steps are the warm-up.
    """

    WINDOW, MIN_ENTRIES, LAST_ENTRIES = 30, 8, 5
    """Entries that it is compared with, the fewest of them, and those that are compared."""
    FACTOR = 10.0
    """How many times the median before."""
    SLOW_ENTRIES, SLOW_FACTOR, LEARNED = 10, 5.0, 0.9
    """Entries of a slow growth that are compared, the last with the first, how many times as large their median is, and
    the share of the first loss below which a loss has fallen."""

    def __init__(self, max_grad_norm: float, warmup: Callable[[int], int]) -> None:
        self.max_grad_norm, self.warmup = max_grad_norm, warmup
        self.first: list[Step] = []
        self.last: deque[Step] = deque(maxlen=self.SLOW_ENTRIES)
        self.norms: deque[float] = deque(maxlen=self.WINDOW + self.LAST_ENTRIES)

    def check(self, step: Step) -> Symptom | None:
        """Say whether they explode."""
        if not math.isfinite(step.grad_norm):
            return None
        if growth := self._check_slow_growth(step):
            return growth
        self.norms.append(step.grad_norm)
        earlier = len(self.norms) - self.LAST_ENTRIES
        if earlier < self.MIN_ENTRIES:
            return None
        before, now = list(islice(self.norms, earlier)), list(islice(self.norms, earlier, None))
        usual = median(before)
        if min(now) <= max(*before, self.FACTOR * usual, self.max_grad_norm):
            return None
        return Symptom(f"the gradient norm is about {median(now):.3g}, and was {usual:.3g} before")

    def _check_slow_growth(self, step: Step) -> Symptom | None:
        """Return the symptom if the norms have grown over the whole training, while the loss did not fall."""
        if step.step <= self.warmup(step.total_steps):
            return None
        if len(self.first) < self.SLOW_ENTRIES:
            self.first.append(step)
            return None
        self.last.append(step)
        before, now = ([entry.grad_norm for entry in part] for part in (self.first, self.last))
        usual, level = median(before), median(now)
        if len(now) < self.SLOW_ENTRIES or level <= max(self.SLOW_FACTOR * usual, self.max_grad_norm):
            return None
        start, loss = (median(entry.loss for entry in part) for part in (self.first, self.last))
        if min(now) <= max(before) or loss < self.LEARNED * start:
            return None
        losses = f"while the loss is {loss:.3g} and was {start:.3g}"
        return Symptom(f"the gradient norm has grown from {usual:.3g} to {level:.3g}, {losses}")

    def reset(self) -> None:
        self.norms.clear()
        self.last.clear()
