"""Takes the parts of a step through the model and back, and begins again with smaller ones if memory runs out.

`step.py` says which passes a step has; here is what surrounds each of them: precision, recomputed activations, compiled
layers, and the engine of a group of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from accelerate import Accelerator

from framework.api.training import ProcessGroup, TokenGroup, TokenRow
from framework_plugins.hf.loss.loss import to_device
from framework_plugins.hf.loss.passes import LENGTH_SETTING, Passes
from framework_plugins.hf.machine.out_of_memory import OomRetry, RandomState
from framework_plugins.hf.machine.precision import rounded_once, tf32
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import Packer, Part
from framework_plugins.hf.train.compiled import CompiledLayers
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep, StepOutcome, StepRows, pack

T = TypeVar("T")


@dataclass
class Collator:
    """Reads the groups of a step and packs them; can be sent to a worker process, where its packer stays as it was.

    Attributes:
        rows: of the training.
        packer: cuts them.
        objective: of the run.
        asks: whether the rows are prompts, whose answers come with the step itself.
        world: the processes that share a step; each packs its own groups.
    """

    rows: Sequence[TokenGroup]
    packer: Packer
    objective: CheckedObjective
    asks: bool = field(default=False, kw_only=True)
    world: World = field(default=ALONE, kw_only=True)

    def __call__(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Return the parts of a step, and what is needed to pack it again."""
        parts, rows = ([], None) if self.asks else self.pack(self.read_rows(numbers))
        return {"parts": parts, "rows": rows, "numbers": numbers, "packer": self.packer}

    def pack(self, groups: Sequence[TokenGroup]) -> tuple[list[Part], StepRows]:
        """Return the parts of a step; see `step.pack`."""
        return pack(self.objective, self.packer, groups, self.world)

    def read_rows(self, numbers: Sequence[int]) -> list[TokenGroup]:
        """Read groups."""
        return [self.rows[index] for index in numbers]


@dataclass
class StepRunner:
    """Makes the passes of steps.

    Attributes:
        model: as it trains: an engine may have wrapped it.
        accelerator: puts it where it trains, and scales gradients.
        collator: packs the rows of a step.
        passes: how rows go through the model.
        step: makes the passes of a step.
        oom_retry: what is done if memory runs out.
        group: what was asked for; None: one process.
        compiled: the layers that passes take instead of those of the model.
    """

    model: Any
    accelerator: Accelerator
    collator: Collator
    passes: Passes
    step: OptimizerStep
    oom_retry: OomRetry
    group: ProcessGroup | None = None
    compiled: CompiledLayers | None = None

    @property
    def world(self) -> World:
        """The processes that share a step."""
        return self.collator.world

    def train(
        self, read: Callable[[], Sequence[TokenGroup]], parts: list[Part], rows: StepRows, where: str
    ) -> StepOutcome:
        """Make the passes of a step, with their gradients; see `_with_retries`."""
        return self._with_retries(
            read, parts, rows, where, lambda parts, rows: self.step(parts, rows, self.one_pass, self.score)
        )

    def rehearse(self, group: TokenGroup) -> None:
        """Take one group through the model and back, and leave everything as it was."""
        before = RandomState.now()
        self.train(lambda: [group], *self.collator.pack([group]), "a pass of the longest row")
        self.model.zero_grad()
        before.restore()

    def score_rows(self, groups: Sequence[TokenGroup], add: Callable[[TokenRow, torch.Tensor], None]) -> None:
        """Score groups with the model as it is, those rows too that the objective makes from them."""
        before = RandomState.now()

        def score(parts: Sequence[Part], rows: StepRows) -> None:
            pairs = [(row, scored.cpu()) for row, scored in self.step.score(parts, rows, self.score)]
            for row, scored in chain.from_iterable(self.world.all_gather(pairs)):
                add(row, scored)

        self._with_retries(lambda: groups, *self.collator.pack(groups), "scoring the reference", score)
        before.restore()

    def _with_retries(
        self,
        read: Callable[[], Sequence[TokenGroup]],
        parts: list[Part],
        rows: StepRows,
        where: str,
        make: Callable[[Sequence[Part], StepRows], T],
    ) -> T:
        """Make passes; after each fallback all are repeated, and `parts` are the new ones.

        In a group nothing is repeated, which the others would wait for, and all make as many passes.
        """
        if rows.idle is not None:
            parts += [rows.idle] * (self.world.all_max(len(parts)) - len(parts))
            return make(parts, rows)
        before, current = RandomState.now(), [rows]

        def reduce_memory() -> str:
            groups = read()
            parts.clear()
            self.model.zero_grad()
            before.restore()
            fallback = self.step.reduce_memory() or self.passes.reduce_memory(groups)
            self.collator.packer = self.passes.packer
            smaller, current[0] = self.collator.pack(groups)
            parts.extend(smaller)
            return fallback

        return self.oom_retry.attempt(lambda: make(parts, current[0]), reduce_memory, where, LENGTH_SETTING)

    def one_pass(
        self,
        part: Part,
        *,
        compute: Callable[[Part], torch.Tensor],
        is_last: bool,
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> torch.Tensor:
        """Take one part through the model and back, and return its share of the step's loss."""
        device = self.accelerator.device
        # A part of the run may have switched gradients off, for good.
        with (
            torch.enable_grad(),
            tf32(device.type),
            rounded_once(self.model, device.type),
            self.passes.checkpointing(part),
            self.compiled.used() if self.compiled else nullcontext(),
            engine.in_step(self.accelerator, self.model, self.group, is_last=is_last),
        ):
            self.model.train()
            with self.accelerator.autocast():
                loss = compute(to_device({**part, **overrides}, device))
            self.accelerator.backward(loss)
        return loss.detach()

    @contextmanager
    def pass_context(self) -> Iterator[None]:
        """Compute meanwhile as in a pass."""
        device_type = self.accelerator.device.type
        with tf32(device_type), rounded_once(self.model, device_type), self.accelerator.autocast():
            yield

    @torch.no_grad()
    def score(self, part: Part, compute: Callable[[Part], torch.Tensor]) -> torch.Tensor:
        """Take one part through the model."""
        with tf32(self.accelerator.device.type), self.accelerator.autocast():
            return compute(to_device(part, self.accelerator.device))
