"""A training as one process of a group makes it.

Engines keep the processes together around the model's own forward pass, and cut weights apart between passes. So every
process makes as many passes as the one with the most, and the model is always called as a whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from torch import distributed
from torch.distributed.fsdp import register_fsdp_forward_method
from transformers import TrainingArguments

from framework.api import Step, TrainResult
from framework.api.training import Engine, ProcessGroup, StepControl, TokenGroup, TokenRow, TrainRun, answer_rows
from framework_plugins.hf.load.sharded_weights import (
    allocate_trained,
    full_tensor,
    reshard,
    trained_weights,
    unwrap_checkpointing,
)
from framework_plugins.hf.loss.loss import to_device
from framework_plugins.hf.loss.passes import Passes
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.out_of_memory import OomRetry, RandomState
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.packing.parts import Part, learned_count
from framework_plugins.hf.score.scoring import ROWS_AT_ONCE, Evaluation
from framework_plugins.hf.settings.config import Packing
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.distributed.steps import ShareCollator, own_share, own_slice, zero_weight_part
from framework_plugins.hf.train.order import Order
from framework_plugins.hf.train.progress import Progress
from framework_plugins.hf.train.resume.training_state import TrainingState
from framework_plugins.hf.train.rollouts import Division
from framework_plugins.hf.train.step import OptimizerStep, StepRows
from framework_plugins.hf.train.trainer import SupervisedTrainer, mixed_precision
from framework_plugins.hf.train.training import Training
from framework_plugins.lib.group_member import Member

T = TypeVar("T")


class GroupTrainer(SupervisedTrainer):
    """SupervisedTrainer in a group; `passes` are found out on the model as the engine has it.

    Args:
        group: what was asked for.
        me: this process.
        *parts, **arguments: the parent's.
    """

    data_collator: ShareCollator

    def __init__(self, group: ProcessGroup, me: Member, *parts: Any, **arguments: Any) -> None:
        self.group = group
        self.me = me
        self.score_reference: Callable[[], None] = lambda: None
        super().__init__(*parts, **arguments)

    def on_prepared(self) -> None:
        """Look at what came up, find out on it how rows go through it, and score the reference.

        Raises:
            FrameworkError: it is not what was asked for.
        """
        engine.check_wrapped(self.model_wrapped, self.group)
        if self.group.engine is Engine.fsdp2:
            self.model = self.model_wrapped
            register_fsdp_forward_method(self.model, "generate")  # an adapter's weights are in pieces there too
        torch.manual_seed(self.args.seed + self.me.rank)  # dropout falls on other tokens in each
        losses = self.passes.losses
        to_eval_mode(self.model, self.args.device.type)
        losses.attach_engine(self.model_wrapped, self.args.device)
        probe(losses)
        self.model.train()
        reshard(self.model)
        # Rounding could let them see it differently.
        losses.apply_probe(engine.broadcast_from_first(self.me, lambda: losses.probe_result))
        packer = replace(self.passes.packer, packing=losses.packing, dense_mask=losses.dense_mask)
        self.passes.packer = self.data_collator.packer = packer
        self.order.by_length = losses.packing is Packing.pad
        self.score_reference()

    def _with_retries(
        self,
        model: torch.nn.Module,  # noqa: ARG002
        read: Callable[[], Sequence[TokenGroup]],  # noqa: ARG002 - what one process runs out of, others would wait for
        parts: list[Part],
        rows: StepRows,
        where: str,  # noqa: ARG002
        make: Callable[[Sequence[Part], StepRows], T],
    ) -> T:
        """Make the passes of this process, and as many without weight as another has more."""
        assert rows.idle is not None  # noqa: S101 - the collator of a group makes one
        parts += [rows.idle] * (engine.all_reduce_max(len(parts), self.args.device) - len(parts))
        return make(parts, rows)

    def one_pass(
        self,
        model: torch.nn.Module,
        part: Part,
        *,
        compute: Callable[[Part], torch.Tensor],
        is_last: bool,
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> torch.Tensor:
        """Take one part through the model and back; gradients are averaged after the last."""
        self.accelerator.sync_gradients = is_last  # as the parent's loop does
        wrapped = cast("Any", model)
        if self.group.hybrid:
            wrapped.set_requires_all_reduce(is_last)
        without_sync = self.group.engine is Engine.ddp and not is_last
        with wrapped.no_sync() if without_sync else nullcontext():
            return super().one_pass(model, part, compute=compute, is_last=is_last, overrides=overrides)

    def counters(self) -> dict[str, int]:
        """Return what was counted so far; of what went through the model, each process knows its own."""
        return {
            **super().counters(),
            "computed_tokens": int(engine.all_reduce_sum(self.computed_tokens, self.args.device)),
        }


@dataclass(frozen=True)
class GroupTraining(Training):
    """A training together with other processes.

    Attributes:
        group: what was asked for.
        me: this process.
        eval_rows: rows in a pass of the validation loss.
        set_losses: the validation sets by the name of their loss.
        measure: returns what the method measures besides, with losses that all processes compute together.
    """

    group: ProcessGroup
    me: Member
    eval_rows: int
    set_losses: Mapping[str, str]
    measure: Callable[[Evaluation], Mapping[str, float]]

    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Train; the first process tells the run of each step, and all do what it says."""
        engine.join(self.group, self.machine, self.me)
        allocate_trained(self.model)
        self.passes.losses.prepare_for_engine()
        shared_run = dataclasses.replace(run, on_step=partial(self._control, run.on_step))
        result = self.run(rows, shared_run, partial(self._validate, answer_rows(validation)))
        device = self.machine.device
        result = dataclasses.replace(
            result,
            computed_tokens=int(engine.all_reduce_sum(result.computed_tokens, device)),
            peak_memory_bytes=engine.all_reduce_max(result.peak_memory_bytes, device),
        )
        distributed.barrier()
        return result

    def _all_reduce_max(self, value: int) -> int:
        return engine.all_reduce_max(value, self.machine.device)

    def _ending(self, error: BaseException | None) -> BaseException | None:
        """Return what ends the first process that has something: a signal reaches one machine before another."""
        return next((ending for ending in self._all_gather(error) if ending), None)

    def _control(self, on_step: Callable[[Step], StepControl | None], step: Step) -> StepControl | None:
        return engine.broadcast_from_first(self.me, lambda: on_step(step))

    def _validate(self, validation: Sequence[TokenRow]) -> tuple[float | None, dict[str, float]]:
        if not validation:
            return None, {}
        before, device = RandomState.now(), self.machine.device
        passes = Passes(replace(self.passes.packer, rows=self.eval_rows), self.passes.losses)
        loss, losses = validation_losses(passes, validation, self.set_losses, self.me, device)
        # All of them measure the same rows: what a method makes of scores cannot be put together from shares. Nothing
        # is repeated if memory runs out, which the others would wait for.
        measured = self.measure(Evaluation(passes, OomRetry({}, "", retries=False), device))
        reshard(self.model)
        before.restore()
        self.model.train()
        return loss, {**losses, **measured}

    @property
    def _batch(self) -> int:
        """Rows of an optimizer step, of all processes together."""
        return super()._batch * self.me.world

    @property
    def _rank(self) -> int:
        return self.me.rank

    @property
    def _trainer_class(self) -> Callable[..., SupervisedTrainer]:
        kind: Any = GroupTrainer
        if self.trainer_class is not SupervisedTrainer:  # what it changes is below what a group needs
            kind = type(self.trainer_class.__name__, (GroupTrainer, self.trainer_class), {})
        return partial(kind, self.group, self.me)

    def _collator(self, order: Order) -> ShareCollator:
        return ShareCollator(order.rows, self.passes.packer, self.objective, self.me, asks=self.asks)

    @property
    def _optimizer_step(self) -> OptimizerStep:
        rank, world = self.me.rank, self.me.world
        return OptimizerStep(self.objective, self.passes.losses, self._as_reference, rank, world, self._all_gather)

    def _accelerator(self, args: TrainingArguments) -> Accelerator:
        options = engine.accelerator_options(self.group, self.machine)
        accelerator = Accelerator(mixed_precision=mixed_precision(args), **options)
        engine.check_started(accelerator, self.group, self.me)
        if self.group.hybrid:
            engine.reduce_in_fp32(accelerator)
        return accelerator

    @property
    def _checkpointing(self) -> bool:
        return self.machine.checkpointing and self.group.engine is Engine.ddp

    @property
    def _division(self) -> Division:
        return Division(partial(own_slice, me=self.me), self._all_gather)

    def _state(self, trainer: SupervisedTrainer, progress: Progress) -> TrainingState:
        return TrainingState(trainer, progress, keeps=self.me.rank == 0, all_gather=self._all_gather)

    def _all_gather(self, value: Any) -> list[Any]:
        objects: list[Any] = [None] * self.me.world
        distributed.all_gather_object(objects, value)
        return objects

    def _newest(self, rows: Sequence[TokenGroup]) -> Path | None:
        """Return the checkpoint that the first process resumes from."""
        return engine.broadcast_from_first(self.me, lambda: self.checkpoints.newest(rows))

    def _score_reference(self, trainer: SupervisedTrainer, rows: Sequence[TokenGroup]) -> None:
        """Wait until the engine is up. With weights in pieces, each step asks the base, its adapter switched off."""
        if self.group.engine is Engine.ddp:
            cast("GroupTrainer", trainer).score_reference = partial(super()._score_reference, trainer, rows)

    def _rehearse(self, trainer: SupervisedTrainer, rows: Sequence[TokenGroup], steps: int) -> None:
        """Try nothing: what one process runs out of, the others would wait for."""

    def _save(self, _: SupervisedTrainer, folder: Path) -> None:
        """Put the pieces together, and write them in the first process."""
        state = {name: full_tensor(weight) for name, weight in trained_weights(self.model)}
        if self.me.rank == 0:
            unwrap_checkpointing(self.model)
            self.save(folder, state)


@torch.no_grad()
def validation_losses(
    passes: Passes, rows: Sequence[TokenRow], set_losses: Mapping[str, str], me: Member, device: str
) -> tuple[float, dict[str, float]]:
    """Return the mean loss over the supervised tokens of all rows and of each set, the same in each process.

    Args:
        passes: how rows go through the model.
        rows: all of them.
        set_losses: the validation sets by the name of their loss; empty if there are none.
        me: this process.
        device: where it computes.
    """
    totals, counts = dict.fromkeys(["", *set_losses.values()], 0.0), dict.fromkeys(["", *set_losses.values()], 0)
    to_eval_mode(passes.losses.model, device)
    for start in range(0, len(rows), ROWS_AT_ONCE * me.world):
        chunk = [rows[index] for index in range(start, min(start + ROWS_AT_ONCE * me.world, len(rows)))]
        for name in totals:
            set_rows = [row for row in chunk if name == (TokenRow.set_of(row.where) if set_losses else "")]
            if not set_rows:
                continue
            local_rows = own_share(set_rows, me)
            parts = passes.packer(local_rows) if local_rows else []
            parts += [zero_weight_part(passes.packer, set_rows)] * (
                engine.all_reduce_max(len(parts), device) - len(parts)
            )
            totals[name] += sum(passes.losses.sum(to_device(part, device)).item() for part in parts)
            counts[name] += sum(map(learned_count, set_rows))
    reshard(passes.losses.model)
    summed = {name: engine.all_reduce_sum(total, device) for name, total in totals.items()}
    losses = {name: summed[part] / counts[part] for name, part in set_losses.items() if counts[part]}
    return sum(summed.values()) / sum(counts.values()), losses
