"""A machine with less memory than it has: a pass that would not fit raises what torch raises on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.api.records import Step, TrainResult
from framework_plugins.hf.model import HFModel
from framework_plugins.hf.train.passes import checkpoints
from tests.support.training import make, opened, train

ONE_BY_EIGHT = ("trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1")
PADDED, PLAIN = "trainer.packing=pad", "trainer.packing=none"
DROPOUT = "adapter.lora_dropout=0.2"


@dataclass(frozen=True)
class Pass:
    """A pass that is about to begin, and what is done to need little memory for it."""

    number: int
    shape: tuple[int, int]
    training: bool
    checkpointing: bool
    logits: int

    @property
    def tokens(self) -> int:
        """Tokens, padding included."""
        return self.shape[0] * self.shape[1]


@dataclass
class Seen:
    """The passes that began, and those of them that were refused."""

    passes: list[Pass] = field(default_factory=list)
    refused: list[Pass] = field(default_factory=list)


def error() -> torch.OutOfMemoryError:
    """Return what is raised."""
    return torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB.")


@contextmanager
def short_memory(model: HFModel, fits: Callable[[Pass], bool], *, late: bool = False) -> Iterator[Seen]:
    """Refuse passes that do not fit: before their first layer or, with `late`, in their backward pass."""
    seen = Seen()
    losses = model.evaluation.passes.losses

    def before(body: torch.nn.Module, _: Any, named: dict[str, Any]) -> None:
        one = Pass(
            len(seen.passes) + 1, tuple(named["input_ids"].shape), body.training, checkpoints(body), losses.logits
        )
        seen.passes.append(one)
        if not fits(one):
            seen.refused.append(one)
            if not late or not body.training:
                raise error()

    def after(_: torch.nn.Module, __: Any, out: Any) -> None:
        if late and out[0].requires_grad and seen.refused[-1:] == seen.passes[-1:]:
            out[0].register_hook(_refuse)

    handles = [
        losses.body.register_forward_pre_hook(before, with_kwargs=True),
        losses.body.register_forward_hook(after),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _refuse(_: torch.Tensor) -> torch.Tensor:
    raise error()


@dataclass
class Made:
    """The result of a training."""

    result: TrainResult
    steps: list[Step]
    weights: dict[str, torch.Tensor]
    seen: Seen
    longest: int
    """Tokens of the longest row."""

    @property
    def losses(self) -> list[float]:
        return [step.loss for step in self.steps]

    def all_but_rounding(self, other: Made) -> None:
        """Compare with a training that computed the same in other pieces."""
        assert self.losses == pytest.approx(other.losses, rel=1e-5)
        for name, weight in self.weights.items():
            torch.testing.assert_close(weight, other.weights[name], rtol=1e-4, atol=1e-5)
        self.same_schedule(other)

    def exactly(self, other: Made) -> None:
        assert self.losses == other.losses
        assert all(torch.equal(weight, other.weights[name]) for name, weight in self.weights.items())
        self.same_schedule(other)

    def same_schedule(self, other: Made) -> None:
        for name in ("step", "total_steps", "epoch", "learning_rate", "tokens"):
            assert [getattr(step, name) for step in self.steps] == [getattr(step, name) for step in other.steps]
        for name in ("steps", "epochs", "tokens", "supervised_tokens"):
            assert getattr(self.result, name) == getattr(other.result, name)


def trained(base: Path, rows: Path, folder: Path, *words: str, fits: Any = None, late: bool = False) -> Made:
    """Train; `fits` says of a pass and the number of the step that is being made whether there is room for it."""
    steps: list[Step] = []

    def room(one: Pass) -> bool:
        return fits is None or not one.training or bool(fits(one, len(steps) + 1))

    with opened(make(base, rows, folder, *words)) as (model, data), short_memory(model, room, late=late) as seen:
        result, _ = train(model, data, folder, steps)
        weights = {name: part.detach().clone() for name, part in model.model.named_parameters() if part.requires_grad}
        longest = max(len(row.input_ids) for row in data.train)
    return Made(result, steps, weights, seen, longest)
