"""Faults of a trainer: its step depends on into how many passes it is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

SMALL = 60
"""Tokens of a pass below which it is one of several."""


@dataclass(frozen=True)
class Fault:
    """A fault, and how its message begins."""

    made: Callable[[], AbstractContextManager[None]]
    told: str


@contextmanager
def _scaling() -> Iterator[None]:
    """Divide a pass by half of what is learned in its step, where there are several."""

    def changed(part: Any) -> Any:
        return {**part, "count": part["count"] / 2 if part["input_ids"].numel() < SMALL else part["count"]}

    with _step(lambda plain, self, model, part, more: plain(self, model, changed(part), *more)):
        yield


@contextmanager
def _direction() -> Iterator[None]:
    """Turn the gradient around that several passes add up to: its norm stays what it is, and the loss."""
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    passes: list[Any] = []

    def turn(optimizer: Any, *_: Any) -> None:
        if len(passes) > 1:
            for group in optimizer.param_groups:
                for weight in group["params"]:
                    weight.grad = weight.grad.flip(0).contiguous()
        passes.clear()

    def step(plain: Any, self: Any, model: Any, part: Any, more: Any) -> Any:
        passes.append(part)
        return plain(self, model, part, *more)

    handle = register_optimizer_step_pre_hook(turn)
    try:
        with _step(step):
            yield
    finally:
        handle.remove()


@contextmanager
def _step(instead: Callable[..., Any]) -> Iterator[None]:
    import transformers

    plain = transformers.Trainer.training_step

    def step(self: Any, model: Any, part: Any, *more: Any) -> Any:
        return instead(plain, self, model, part, more)

    transformers.Trainer.training_step = step
    try:
        yield
    finally:
        transformers.Trainer.training_step = plain


SCALING = Fault(_scaling, "accumulation is wrong: 8x1 has the loss ")
DIRECTION = Fault(_direction, "accumulation is wrong: the gradient of ")
