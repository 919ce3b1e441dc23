"""Options of `callback.plateau`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt, Interval

from framework.api.training import CallbackConfig


class Measured(Enum):
    """What is watched: the loss of the steps, or the validation loss, which is measured less often."""

    loss = "loss"
    eval_loss = "eval_loss"


@dataclass
class PlateauConfig(CallbackConfig):
    """A lower learning rate once the loss no longer falls."""

    measure: Measured = Measured.eval_loss
    """What is watched: the loss of the log entries, or the validation loss."""
    patience: Annotated[int, Gt(0)] = 3
    """How many values in a row may pass without a new lowest one."""
    threshold: Annotated[float, Ge(0)] = 0.001
    """How much lower a new lowest value has to be, as a share of the last one."""
    factor: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """The factor on the learning rate."""
    lowest: Annotated[float, Interval(gt=0, le=1)] = 0.01
    """The learning rate never falls below this share of what the schedule gives."""
