"""Trainings on a machine with less memory than it has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from framework.api.records import Step, TrainResult
from framework_gpu_tests.short_memory import Pass, Seen, error, short_memory
from tests.support.training import make, opened, train

__all__ = ["DROPOUT", "ONE_BY_EIGHT", "PADDED", "PLAIN", "Made", "Pass", "Seen", "error", "short_memory", "trained"]

ONE_BY_EIGHT = ("trainer.per_device_train_batch_size=8", "trainer.gradient_accumulation_steps=1")
PADDED, PLAIN = "trainer.packing=pad", "trainer.packing=none"
DROPOUT = "adapter.lora_dropout=0.2"


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

    def all_but_rounding(self, expected: Made) -> None:
        """Compare with a training that computed the same in other pieces."""
        assert self.losses == pytest.approx(expected.losses, rel=1e-5)
        for name, weight in self.weights.items():
            torch.testing.assert_close(weight, expected.weights[name], rtol=1e-4, atol=1e-5)
        self.same_schedule(expected)

    def exactly(self, expected: Made) -> None:
        assert self.losses == expected.losses
        assert all(torch.equal(weight, expected.weights[name]) for name, weight in self.weights.items())
        self.same_schedule(expected)

    def same_schedule(self, expected: Made) -> None:
        for name in ("step", "total_steps", "epoch", "learning_rate", "tokens"):
            assert [getattr(step, name) for step in self.steps] == [getattr(step, name) for step in expected.steps]
        for name in ("steps", "epochs", "tokens", "supervised_tokens"):
            assert getattr(self.result, name) == getattr(expected.result, name)


def trained(base: Path, rows: Path, folder: Path, *words: str, fits: Any = None, late: bool = False) -> Made:
    """Train; `fits` says of a pass and the number of the step that is being made whether there is room for it."""
    steps: list[Step] = []

    def room(attempt: Pass) -> bool:
        return fits is None or not attempt.training or bool(fits(attempt, len(steps) + 1))

    with opened(make(base, rows, folder, *words)) as (model, data), short_memory(model, room, late=late) as passes:
        result, _ = train(model, data, folder, steps)
        weights = {name: part.detach().clone() for name, part in model.model.named_parameters() if part.requires_grad}
        longest = max(len(row.input_ids) for row in data.train)
    return Made(result, steps, weights, passes, longest)
