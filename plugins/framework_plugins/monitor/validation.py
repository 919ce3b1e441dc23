"""The rule for the validation loss, in comparison with the training loss."""

from __future__ import annotations

import math
from collections import deque
from statistics import fmean, median

from framework.api import Step
from framework_plugins.monitor.evidence import Symptom, deviations, falling_fit, spent
from framework_plugins.monitor.losses import MIN_LOSS, slope, spread, without_trend

RISES_WITH_TRAINING = "rises_with_training"
VALIDATION_NAN = "validation_nan"


class RisingEvalLoss:
    """A validation loss that rises from its lowest by more than its validations scatter.

    It rises along a straight line, or with the last one. The scatter is that around a sequence that falls to the
    lowest, and around the line or the level from there. A training has few validations, so a usual scatter counts as
    some more of them: the rows are the same each time, and the loss moves by about 1% with the weights. One large rise
    is enough, since many runs have a validation for each epoch and few epochs; small ones have to continue.
    """

    USUAL_SCATTER, USUAL_FREEDOM = 0.01, 4
    """The scatter of validations as a share of the loss, and for how many of its own it counts."""
    MAX_CHANCE = 2e-4
    """The chance of a false alarm in one look: the first ones rest on the usual scatter, which may be wrong."""
    MIN_NATS = 0.02
    """How much higher at least: if all is known, losses of no weight are far apart."""
    WINDOW = 10
    """Training losses that are compared, those just before each of the two validations."""
    SPREADS = 2.0
    """How many of their spreads the training loss is higher if it rose too: it only decides what is recommended."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=self.WINDOW)
        self.validations: list[float] = []
        self.steps: list[int] = []
        self.trained: list[float] = []
        """The training loss before each validation."""

    def check(self, step: Step) -> Symptom | None:
        """Say whether the validation loss rises."""
        if math.isfinite(step.loss):
            self.losses.append(step.loss)
        if step.eval_loss is None or not self.losses:
            return None
        if not math.isfinite(step.eval_loss):
            return Symptom(f"the validation loss is {step.eval_loss}", VALIDATION_NAN)
        self.validations.append(step.eval_loss)
        self.steps.append(step.step)
        self.trained.append(median(self.losses))
        return self._symptom() if self._rises() else None

    def _rises(self) -> bool:
        logs = [math.log(max(loss, MIN_LOSS)) for loss in self.validations]
        count, lowest = len(logs), self._lowest_index()
        after = logs[lowest:]
        if len(after) == 1 or self.validations[-1] < self.validations[lowest] + self.MIN_NATS:
            return False
        squares, levels = falling_fit(logs[: lowest + 1])
        freedom = self.USUAL_FREEDOM + lowest + 1 - levels + len(after) - 2
        # Any validation could have been the lowest, by chance.
        needed = deviations(min(self.MAX_CHANCE, spent(count, count - 1)), freedom)
        level = fmean(after[:-1])
        trend = slope(after), 12 / (len(after) * (len(after) ** 2 - 1)), without_trend(after)
        jump = after[-1] - level, 1 + 1 / (len(after) - 1), [log - level for log in after[:-1]]
        for rise, weight, residuals in (trend, jump):
            total_squares = (
                self.USUAL_FREEDOM * self.USUAL_SCATTER**2 + squares + sum(residual**2 for residual in residuals)
            )
            if rise > needed * math.sqrt(weight * total_squares / freedom):
                return True
        return False

    def _symptom(self) -> Symptom:
        lowest = self._lowest_index()
        before, now = self.trained[lowest], self.trained[-1]
        text = (
            f"the validation loss rose from {self.validations[lowest]:.3g} at step {self.steps[lowest]} to "
            f"{self.validations[-1]:.3g}, while the training loss went from {before:.3g} to {now:.3g}"
        )
        rose = now > before + self.SPREADS * spread(self.losses) and now > before + self.MIN_NATS
        return Symptom(text, RISES_WITH_TRAINING if rose else "")

    def _lowest_index(self) -> int:
        """Return the index of the lowest validation, the last of equal ones."""
        return min(range(len(self.validations)), key=lambda index: (self.validations[index], -index))

    def reset(self) -> None:
        """Forget nothing: the lowest stays the lowest."""
