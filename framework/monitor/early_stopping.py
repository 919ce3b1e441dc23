"""The best validation so far, and how long ago that was."""

from __future__ import annotations

import math

from framework.api.records import Measure, Step


class BestValidation:
    """Compares validations.

    Args:
        name: the number that they are compared by, `eval_loss` or a metric.
        patience: how many in a row may be no better; None for any number.
    """

    def __init__(self, name: str, patience: int | None) -> None:
        self.name = name
        self.patience = patience
        self.higher_is_better = False
        """Whether higher is better; of a metric it is known when it has been measured."""
        self.step: int | None = None
        self.value: float | None = None
        self.since = 0
        """Validations since the best one."""
        self.seen = 0
        """Validations that were compared."""

    def improves(self, step: Step) -> bool:
        """Compare the validation after a step; whether there was one, and it is the best so far. NaN never is."""
        value = step.eval_loss if self.name == Measure.EVAL_LOSS else step.metrics.get(self.name)
        if value is None:
            return False
        self.seen += 1
        if math.isfinite(value) and self._better(value):
            self.step, self.value, self.since = step.step, value, 0
            return True
        self.since += 1
        return False

    def _better(self, value: float) -> bool:
        if self.value is None:
            return True
        return value > self.value if self.higher_is_better else value < self.value

    @property
    def stop_reason(self) -> str:
        """Why the training stops; empty while there is patience left."""
        if self.patience is None or self.since < self.patience:
            return ""
        count = f"{self.since} validation{'' if self.since == 1 else 's'}"
        if self.value is None:
            return f"early stopping: {self.name} was not a number in {count}"
        return f"early stopping: {self.name} was {self.value:.4g} at step {self.step}, and not better in {count} since"
