"""A training as one process of a group makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import distributed

from framework.api.process_group import Member, ProcessGroup
from framework.api.protocols import TrainRun
from framework.api.records import Step, StepControl, TokenRow, TrainResult
from framework_plugins.hf.load.adapters import save_weights
from framework_plugins.hf.packing.row_sampler import RowSampler
from framework_plugins.hf.resume.checkpoints import Checkpoints
from framework_plugins.hf.resume.training_state import State
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.distributed.evaluation import losses
from framework_plugins.hf.train.distributed.steps import ShareCollator
from framework_plugins.hf.train.distributed.trainer import GroupTrainer
from framework_plugins.hf.train.distributed.weights import allocate, trained, unwrap, whole
from framework_plugins.hf.train.passes import Passes
from framework_plugins.hf.train.progress import Progress
from framework_plugins.hf.train.retry import Randomness
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.hf.train.training import Training

if TYPE_CHECKING:
    from framework_plugins.hf.model import HFModel


@dataclass(frozen=True)
class GroupTraining(Training):
    """A training together with other processes.

    Attributes:
        group: what was asked for.
        me: this process.
        evaluated: rows in a pass of the validation loss.
        sets: the validation sets by the name of their loss.
    """

    group: ProcessGroup
    me: Member
    evaluated: int
    sets: Mapping[str, str]

    def together(self, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun) -> TrainResult:
        """Train; the first process tells the run of each step, and all do what it says."""
        shared_run = dataclasses.replace(run, on_step=partial(self._agree, run.on_step))
        result = self.run(rows, shared_run, partial(self._validate, validation))
        device = self.machine.device
        result = dataclasses.replace(
            result,
            computed_tokens=int(engine.added(result.computed_tokens, device)),
            peak_memory_bytes=engine.most(result.peak_memory_bytes, device),
        )
        distributed.barrier()
        return result

    def _agree_on(self, number: int) -> int:
        return engine.most(number, self.machine.device)

    def _agree(self, on_step: Callable[[Step], StepControl | None], step: Step) -> StepControl | None:
        return engine.agreed(self.me, lambda: on_step(step))

    def _validate(self, validation: Sequence[TokenRow]) -> tuple[float | None, dict[str, float]]:
        if not validation:
            return None, {}
        before = Randomness.now()
        passes = Passes(replace(self.passes.packer, rows=self.evaluated), self.passes.losses)
        result = losses(passes, validation, self.sets, self.me, self.machine.device)
        before.restore()
        self.model.train()
        return result

    @property
    def _batch(self) -> int:
        """Rows of an optimizer step, of all processes together."""
        return super()._batch * self.me.world

    @property
    def _rank(self) -> int:
        return self.me.rank

    def _make_trainer(self, order: RowSampler, arguments: dict[str, Any]) -> SupervisedTrainer:
        arguments["data_collator"] = ShareCollator(order.rows, self.passes.packer, self.me)
        return GroupTrainer(self.group, self.me, passes=self.passes, order=order, oom_retry=self.oom_retry, **arguments)

    def _state(self, trainer: SupervisedTrainer, progress: Progress) -> State:
        return State(trainer, progress, keeps=self.me.rank == 0, gathered=self._gathered)

    def _gathered(self, mine: Any) -> list[Any]:
        objects: list[Any] = [None] * self.me.world
        distributed.all_gather_object(objects, mine)
        return objects

    def _newest(self, rows: Sequence[TokenRow]) -> Path | None:
        """Return the checkpoint that the first process resumes from."""
        return engine.agreed(self.me, lambda: self.checkpoints.newest(rows))

    def _arguments(self) -> dict[str, Any]:
        return engine.arguments(self.group, self.machine)

    def _rehearse(self, trainer: SupervisedTrainer, rows: Sequence[TokenRow], steps: int) -> None:
        """Try nothing: what one process runs out of, the others would wait for."""

    def _save(self, _: SupervisedTrainer, folder: Path) -> None:
        """Put the pieces together, and write them in the first process."""
        state = {name: whole(weight) for name, weight in trained(self.model)}
        if self.me.rank == 0:
            unwrap(self.model)
            save_weights(self.model, folder, state)


def train_together(
    model: HFModel, rows: Sequence[TokenRow], validation: Sequence[TokenRow], run: TrainRun, me: Member
) -> TrainResult:
    """Train a model as one process of a group."""
    plan, config = model.plan, model.config
    allocate(model.model)
    losses = model.losses(model.model, model.way.packing, masked=not model.way.branches, looks=False)
    passes = Passes(model.packer(losses, config.per_device_train_batch_size), losses, model.model)
    training = GroupTraining(
        model.model, passes, model.oom_retry, model.machine, config, plan.seed, model.tokenizer, model.way.fast,
        Checkpoints(plan, writes=me.rank == 0), plan.launch.config.group(), me, config.per_device_eval_batch_size,
        plan.set_losses,
    )  # fmt: skip
    return training.together(rows, validation, run)
