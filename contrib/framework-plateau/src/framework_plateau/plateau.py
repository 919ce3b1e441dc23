"""`callback=[plateau]`: the rule of torch's ReduceLROnPlateau, on top of any schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.api import Step
from framework.api.training import StepControl
from framework_plateau.config import Measured, PlateauConfig


class Plateau:
    """Counts the values since the lowest one. What it needs after an interruption is three numbers."""

    def __init__(self, config: PlateauConfig) -> None:
        self.config = config
        self.best: float | None = None
        self.since = 0
        self.scale = 1.0

    def on_step(self, step: Step) -> StepControl | None:
        """Lower the rate after `patience` values without a new lowest one, and start to count again."""
        value = step.eval_loss if self.config.measure is Measured.eval_loss else step.loss
        if value is None:  # most log entries come without a validation
            return None
        if self.best is None or value < self.best * (1 - self.config.threshold):
            self.best, self.since = value, 0
            return None
        self.since += 1
        if self.since < self.config.patience:
            return None
        self.since = 0
        factor = max(self.config.factor, self.config.lowest / self.scale)
        self.scale *= factor
        return StepControl(rate=factor) if factor < 1 else None

    def state(self) -> Mapping[str, Any]:
        """Return the three numbers."""
        return {"best": self.best, "since": self.since, "scale": self.scale}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue with them."""
        self.best, self.since, self.scale = state["best"], state["since"], state["scale"]
