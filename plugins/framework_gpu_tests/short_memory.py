"""A machine with less memory than it has: a pass that would not fit raises what torch raises on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from framework_plugins.hf.loss.passes import is_checkpointing
from framework_plugins.hf.model import HFModel


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
    losses = model.open_losses().passes.losses

    def before(body: torch.nn.Module, _: Any, named: dict[str, Any]) -> None:
        one = Pass(
            len(seen.passes) + 1,
            tuple(named["input_ids"].shape),
            body.training,
            is_checkpointing(body),
            losses.logits_at_once,
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
