"""One step of the twin as a run would make it, with the gradient of every weight; and whether two are the same."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.protocols import TrainRun
from framework.api.records import Step, StepControl, TokenRow
from framework_plugins.hf.group.weights import trained, whole
from framework_plugins.hf.model import HFModel

STEPS = 8
"""In fp16 the first steps look for a factor with which no gradient overflows, and change nothing until then."""
UNCLIPPED = 1e9
"""A gradient that is scaled down to a norm hides how large it was."""
START = 0.05
"""The spread of what is put where weights begin at zero."""
SEEN = "the gradients of a step have been seen"


@dataclass(frozen=True)
class Tried:
    """A step.

    Attributes:
        name: how it was made.
        loss: in nats.
        norm: of all gradients, as the trainer tells it.
        gradients: of each weight that is trained, by its name.
    """

    name: str
    loss: float
    norm: float
    gradients: dict[str, torch.Tensor]

    def apart(self, other: Tried, allowed: float) -> str:
        """Say in what another step differs by more than a share of it; empty where it is the same step."""
        for what, one, two in (("loss", self.loss, other.loss), ("norm of the gradients", self.norm, other.norm)):
            if not abs(one - two) <= allowed * abs(one):  # what is no number differs too
                return f"{self.name} has the {what} {one:.4f}, {other.name} of the same rows {two:.4f}"
        if self.gradients.keys() != other.gradients.keys():
            return f"{self.name} and {other.name} train other weights"
        far = {name: _share(one, other.gradients[name]) for name, one in self.gradients.items()}
        worst = max(far, key=lambda name: far[name])
        if far[worst] <= allowed:
            return ""
        return (
            f"the gradient of {worst} differs between {other.name} and {self.name} of the same rows: by "
            f"{far[worst]:.1%} of its largest entry"
        )


def _share(one: torch.Tensor, two: torch.Tensor) -> float:
    """Return the largest difference as a share of the largest entry; none for what is zero in both."""
    most, far = one.abs().max().item(), (one - two).abs().max().item()
    return far / most if most else math.inf if far else 0.0


@dataclass
class Gradients:
    """Keeps the gradients of the first step in which all are finite.

    Attributes:
        model: whose.
        found: them, by the names of the weights; empty until then.
    """

    model: torch.nn.Module
    found: dict[str, torch.Tensor] = field(default_factory=dict)

    def look(self, *_: Any) -> None:
        """Look at them: an optimizer is about to make a step. All processes of a group do it together."""
        if not self.found:
            with_gradient = ((name, weight.grad) for name, weight in trained(self.model) if weight.grad is not None)
            seen = {name: whole(gradient).float().clone() for name, gradient in with_gradient}
            if all(gradient.isfinite().all() for gradient in seen.values()):
                self.found = seen

    def control(self) -> StepControl | None:
        """End the training where they have been seen."""
        return StepControl(stop=SEEN) if self.found else None


@contextmanager
def gradients(model: torch.nn.Module) -> Iterator[Gradients]:
    """Keep the gradients of a training's first step, by torch's hook of all optimizers."""
    kept = Gradients(model)
    handle = register_optimizer_step_pre_hook(kept.look)
    try:
        yield kept
    finally:
        handle.remove()


def settled(plan: Plan, batch: tuple[int, int], length: int) -> Plan:
    """Return a plan of one step: rows in a pass, passes, and the longest row in tokens."""
    settings: dict[str, Any] = {
        "per_device_train_batch_size": batch[0],
        "gradient_accumulation_steps": batch[1],
        "max_steps": STEPS,
        "warmup_steps": 0,
        "logging_steps": 1,
        "eval_steps": None,
        "save_steps": None,
        "keep_best": False,
        "max_seq_length": length,
        "max_grad_norm": UNCLIPPED,
    }
    config = dataclasses.replace(plan.trainer.config, **settings)
    return dataclasses.replace(plan, trainer=dataclasses.replace(plan.trainer, config=config))


def step(model: HFModel, rows: list[TokenRow], place: Path, name: str) -> Tried:
    """Make the first step of a training.

    Raises:
        FrameworkError: there was none, or none with gradients that are numbers.
    """
    steps: list[Step] = []

    with gradients(model.model) as kept:

        def told(step: Step) -> StepControl | None:
            steps.append(step)
            return kept.control()

        model.train(rows, [], TrainRun(place / "checkpoint", place / "scratch", told))
    if not kept.found:
        message = f"{name}: no step had gradients to be seen that are all numbers"
        raise FrameworkError(message)
    loss, norm = (
        (steps[-1].loss, steps[-1].grad_norm) if steps else (math.nan, math.nan)
    )  # the first process gets the steps
    return Tried(name, loss, norm, kept.found)


@torch.no_grad()
def fill(model: torch.nn.Module) -> None:
    """Put numbers where trained weights begin at zero: the other half of an adapter has no gradient before that."""
    draw = torch.Generator().manual_seed(0)
    for _, weight in trained(model):
        if not weight.is_meta and not weight.any():
            weight.copy_(START * torch.randn(weight.shape, generator=draw))
