"""What a training is made of beside its rows and its loss: optimizers, schedules, samplers and callbacks.

The core sees no tensor: where a type is `Any`, it is torch's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framework.api.records import Step, StepControl

__all__ = ["Callback", "ModelPart", "OptimizerFactory", "ParameterGroup", "Sampler", "Schedule", "TrainedWeight"]


class ModelPart(Enum):
    """The part of a model that a weight is in; `hidden` is all between the embedding and the output head."""

    embedding = "embedding"
    head = "head"
    hidden = "hidden"


@dataclass(frozen=True)
class TrainedWeight:
    """A weight that is trained.

    Attributes:
        name: as the model names it.
        shape: its sizes.
        part: where in the model it is.
        value: its `torch.nn.Parameter`; None in a plan, which has no weights.
    """

    name: str
    shape: tuple[int, ...]
    part: ModelPart = ModelPart.hidden
    value: Any = None


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that are updated with the same settings."""

    weights: Sequence[TrainedWeight]
    rate: float
    weight_decay: float

    def for_torch(self) -> dict[str, Any]:
        """Return the group as the optimizers of torch take it."""
        return {
            "params": [weight.value for weight in self.weights], "lr": self.rate, "weight_decay": self.weight_decay
        }  # fmt: skip


@runtime_checkable
class OptimizerFactory(Protocol):
    """An option of `optimizer=`. A plan creates it, so its module should not import torch at the top.

    One step on a small matrix is tried on the hardware of the run before a model is loaded.
    """

    @property
    def substitute(self) -> OptimizerFactory | None:
        """The same optimizer in another precision, for hardware where it does not run; None: such a run is refused."""
        return None

    @abstractmethod
    def state_bytes(self, weights: Sequence[TrainedWeight], *, on_gpu: bool) -> float | None:
        """Return the bytes that the states of these weights take where the training takes place; None if unknown.

        The weights are in fp32. On a GPU, states that are kept in the memory of the CPU do not count.
        """

    @abstractmethod
    def create(self, groups: Sequence[ParameterGroup], rate: float, warmup: int) -> Any:
        """Return a `torch.optim.Optimizer` for these groups; any of them may be empty.

        Args:
            groups: the weights, with rate and weight decay of each.
            rate: `trainer.learning_rate`.
            warmup: steps of the warm-up, for an optimizer that replaces the schedule; others leave it to the schedule.
        """


@runtime_checkable
class Schedule(Protocol):
    """An option of `schedule=`: a pure function, so that plan and page can draw it, and a resume needs no state."""

    @abstractmethod
    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor on the learning rate for the step after `step` steps.

        Args:
            step: steps that are done: 0 for the first step. The last call of a training is with `steps`.
            steps: steps of the training.
            warmup: steps of the warm-up.
            rate: the peak, `trainer.learning_rate`; for schedules that end at an absolute rate.
        """


@runtime_checkable
class Sampler(Protocol):
    """An option of `sampler=`: the order of the rows of a whole training, pure, so that a resume needs no state."""

    @abstractmethod
    def order(self, lengths: NDArray[np.int64], batch: int, steps: int, seed: int) -> Iterable[Sequence[int]]:
        """Yield the numbers of the rows of each optimizer step, for `steps` steps.

        A step has `batch` rows, and the last one of each epoch what is left of the rows. Rows that are seen more often
        than others, or never, are reported with their number.

        Args:
            lengths: tokens of each row.
            batch: rows of an optimizer step.
            steps: steps of the training.
            seed: of the run.
        """


@runtime_checkable
class Callback(Protocol):
    """An option of `callback=`: follows a training and says what to do before the next step."""

    @abstractmethod
    def on_step(self, step: Step) -> StepControl | None:
        """Return what to do after this log entry; None for nothing. `trainer.logging_steps` says how often it comes."""

    @abstractmethod
    def state(self) -> Mapping[str, Any]:
        """Return what it needs to continue after an interruption, as plain values; saved with each checkpoint."""

    @abstractmethod
    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
