"""Rules for trainings by rewards and by preferences: a reward that falls, and drawn answers that teach nothing."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from statistics import fmean, variance
from typing import NamedTuple

from framework.api import Step
from framework_plugins.monitor.evidence import Symptom, deviations, spent

REWARD, MARGIN = "reward", "rewards/margins"
NO_MARGIN = "no_margin"
NO_SIGNAL, ALL_CUT, FAR_FROM_BASE = "no_signal", "all_cut", "far_from_base"


class FallingReward:
    """A mean reward, or a margin of preferences, that is below its start; or a margin that stays at 0.

    The last entries are compared with the first. If the reward of an answer is how much likelier it became, the margin
    begins at 0, and it should be above 0 by the middle of the training.

    Args:
        from_zero: whether it begins at 0.
    """

    WINDOW, STRIDE = 10, 5
    """Entries of a mean, and how many are new at each look."""
    SHARE = 0.25
    """The share of the first reward by which the last is lower at least: prompts of a step differ."""
    STILL = 0.1
    """The margin up to which it counts as 0: the loss of DPO is 0.644 there, and 0.693 at 0."""
    ERRORS, LEAST = 2.0, 20
    """Standard errors above 0 from which a margin differs from 0, and the least entries of a check."""

    def __init__(self, *, from_zero: bool) -> None:
        self.from_zero = from_zero
        self.values: list[float] = []
        self.looks = 0
        self.halfway = False

    def check(self, step: Step) -> Symptom | None:
        """Say whether the reward fell, or the margin stays at 0."""
        name = REWARD if REWARD in step.loss_metrics else MARGIN
        value = step.loss_metrics.get(name)
        if value is None or not math.isfinite(value):
            return None
        self.values.append(value)
        quantity = "reward" if name == REWARD else "margin of the rewards"
        if len(self.values) >= 3 * self.WINDOW - self.WINDOW * self.from_zero and len(self.values) % self.STRIDE == 0:
            self.looks += 1
            if symptom := self._check_fall(quantity):
                return symptom
        return self._check_margin(step) if self.from_zero else None

    def _check_fall(self, quantity: str) -> Symptom | None:
        opening, before, recent = (
            self.values[: self.WINDOW],
            self.values[-2 * self.WINDOW : -self.WINDOW],
            self.values[-self.WINDOW :],
        )
        start, now, freedom = fmean(opening), fmean(recent), 2 * self.WINDOW - 2
        error = math.sqrt((variance(opening) + variance(recent)) / self.WINDOW)
        least = self.SHARE * abs(start)
        if self.from_zero:
            start, error, freedom = 0.0, math.sqrt(variance(recent) / self.WINDOW), self.WINDOW - 1
            least = self.STILL
        if start - now <= max(least, deviations(spent(self.looks), freedom) * error):
            return None
        if start - fmean(before) <= least / 2:  # a few hard prompts
            return None
        return Symptom(f"the {quantity} fell to {now:.3g} over {self.WINDOW} log entries, and began at {start:.3g}")

    def _check_margin(self, step: Step) -> Symptom | None:
        """Return the symptom if the margin stays at 0 in the second half of the entries, half-way and at the end."""
        at_end = step.step == step.total_steps
        half = self.values[len(self.values) // 2 :]
        if (not at_end and (self.halfway or 2 * step.step < step.total_steps)) or len(half) < self.LEAST:
            return None
        self.halfway = True
        mean, error = fmean(half), math.sqrt(variance(half) / len(half))
        if mean >= self.STILL or mean > self.ERRORS * error:
            return None
        text = f"the margin of the rewards is {mean:.2g} over {len(half)} log entries, and 0 before any training"
        return Symptom(text, NO_MARGIN)

    def reset(self) -> None:
        """Forget nothing: it is about the training as a whole, and reported once."""


class Limit(NamedTuple):
    """From where a number says that drawn answers teach nothing, the sentence about it, and the advice."""

    value: float
    text: str
    cause: str
    grows: bool = False
    """Whether it also has to be twice what it was at first."""


LIMITS: Mapping[str, Limit] = {
    "frac_reward_zero_std": Limit(
        0.95, "for {:.0%} of the prompts all drawn answers have the same reward, so they teach nothing", NO_SIGNAL
    ),
    "completions/clipped_ratio": Limit(0.95, "{:.0%} of the drawn answers are cut off before they end", ALL_CUT),
    "kl": Limit(3.0, "drawn answers are {:.2g} nats a token from the reference", FAR_FROM_BASE, grows=True),
    "entropy": Limit(4.0, "drawn tokens have an entropy of {:.2g} nats", FAR_FROM_BASE, grows=True),
}


class DrawnAnswers:
    """Answers that a model draws and that teach nothing: equal rewards, all cut off, or far from its reference.

    The mean of the last entries is beyond a limit, and none of them is below half of it: with one prompt in a step,
    seven of ten without a signal are ordinary.
    """

    WINDOW, FIRST = 20, 5
    """Entries of a mean, and those that show where a number began."""
    TIMES = 2.0
    """How many times what it was at first a number is that has to have grown."""

    def __init__(self) -> None:
        self.last: dict[str, deque[float]] = {name: deque(maxlen=self.WINDOW) for name in LIMITS}
        self.first: dict[str, list[float]] = {name: [] for name in LIMITS}

    def check(self, step: Step) -> Symptom | None:
        """Say which number is beyond its limit."""
        symptom = None
        for name, limit in LIMITS.items():
            value = step.loss_metrics.get(name)
            if value is None or math.isnan(value):
                continue
            if len(self.first[name]) < self.FIRST:
                self.first[name].append(value)
            self.last[name].append(value)
            least = max(limit.value, self.TIMES * fmean(self.first[name]) if limit.grows else 0.0)
            recent = self.last[name]
            if symptom is None and len(recent) == self.WINDOW and fmean(recent) >= least and min(recent) >= least / 2:
                text = limit.text.format(fmean(recent))
                symptom = Symptom(f"{text}, over {self.WINDOW} log entries", limit.cause)
        return symptom

    def reset(self) -> None:
        """Forget the earlier entries, but not the first."""
        for values in self.last.values():
            values.clear()
