"""The settings below `health`: what is done about each kind of trouble."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

from annotated_types import Interval


class Action(Enum):
    """What is done about a trouble: nothing, it is told, the learning rate is lowered too, or the training ends."""

    ignore = "ignore"
    warn = "warn"
    lower = "lower"
    stop = "stop"


@dataclass
class HealthConfig:
    """What is done about what goes wrong in a training."""

    nan: Action = Action.stop
    """The loss is no finite number, or the gradients are none in many log entries in a row."""
    spike: Action = Action.warn
    """The training loss jumps far above what it was."""
    rising_loss: Action = Action.warn
    """The training loss rises, and stays high."""
    oscillation: Action = Action.warn
    """The training loss swings up and down and does not fall."""
    plateau: Action = Action.warn
    """The training loss stands where it began."""
    exploding_gradient: Action = Action.warn
    """The norm of the gradients, before they are clipped, grows to many times what it was."""
    rising_eval_loss: Action = Action.warn
    """The validation loss rises while the training loss does not: the rows are learned by heart."""
    endless_answers: Action = Action.warn
    """Answers do not end by themselves: seen after the training, and during it where `trainer.early_stopping_metric`
    has prompts answered."""
    lower_to: Annotated[float, Interval(gt=0, lt=1)] = 0.5
    """What the learning rates that are still to come are multiplied with where the action is `lower`."""
