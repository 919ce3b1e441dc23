"""Work between the steps of the trainer: log entries, validations, a rehearsal, and the instructions of the run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import TrainerControl, TrainerState, TrainingArguments

from framework.api import Step, counting
from framework.api.training import TrainerConfig, TrainRun
from framework_plugins.hf.train.best_weights import BestWeights
from framework_plugins.hf.train.step_reporter import NO_VALIDATION, StepReporter, Validation
from framework_plugins.hf.train.trainer import SupervisedTrainer

SAVE, SAVE_AND_END = 1, 2
"""What a process asks for after a step: a checkpoint, or the end of the training after one."""


class CheckpointTimer:
    """When the next checkpoint is due by time.

    Args:
        seconds: between two of them, at least; None for none.
        clock: tells the time in seconds.
    """

    max_share = 0.02
    """Of the training, what checkpoints may take."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self.seconds = seconds
        self.clock = clock
        self.last_seconds = 0.0
        """Seconds that the last one took."""
        self.start()

    def start(self) -> None:
        """Begin to wait for the next one."""
        self.since = self.clock()

    def is_due(self) -> bool:
        """Whether it is time for one."""
        return self.seconds is not None and self.clock() - self.since >= max(
            self.seconds, self.last_seconds / self.max_share
        )

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Take the time of one."""
        begun = self.clock()
        yield
        self.last_seconds = self.clock() - begun
        self.start()


class Progress(StepReporter):
    """Rehearses the largest pass, saves what is left to resume, and ends the training where a signal asks for that.

    Args, besides those of `StepReporter`:
        rehearse: makes the largest pass of a run with this many steps, if the run is long enough for that.
        timer: when checkpoints are due by time.
        all_reduce_max: returns the largest number that a process of the training has, in all of them.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        run: TrainRun,
        validate: Callable[[], Validation],
        rehearse: Callable[[int], None],
        best: BestWeights,
        training: TrainerConfig,
        timer: CheckpointTimer,
        all_reduce_max: Callable[[int], int],
    ) -> None:
        super().__init__(trainer, run, validate, best, training)
        self.rehearse = rehearse
        self.timer = timer
        self.all_reduce_max = all_reduce_max
        self.ending = False
        """Whether the training ends after the checkpoint of this step."""
        self.updating = False
        """Whether the optimizer is updating: some of the weights may be those of the next step."""
        self.first_step = ExitStack()
        """Shows that the first step of this process is in work, which may take a minute."""
        self.last_loss = float("nan")
        self.earlier_seconds = 0.0
        """Seconds that an earlier process took."""

    def resumed(self, seconds: float, steps: list[Step]) -> None:
        """Take the steps that an earlier process reported, and how long it took."""
        self.earlier_seconds, self.reported = seconds, steps

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Report the steps of an earlier process again, for all loggers, and start the clock."""
        super().on_train_begin(_, state)
        if self.reported:
            self.last_loss = self.reported[-1].loss
        self.start = time.perf_counter() - self.earlier_seconds
        self.timer.start()
        self.first_step.enter_context(
            counting(None, "", f"step {self.resumed_at + 1}" if self.resumed_at else "the first step")
        )

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note that weights are being changed."""
        self.updating = True

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note that all of them are."""
        self.updating = False

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, train_dataloader: Any, **__: Any
    ) -> None:
        """Rehearse after the first step: from now on the optimizer's states take their memory too. Validate."""
        self.first_step.close()
        step, total = state.global_step, state.max_steps
        if step == 1:
            self.rehearse(total)
        self.validate_if_due(step, len(train_dataloader), total)
        control.should_log = control.should_log or step == total or self.validation != NO_VALIDATION
        wish = SAVE_AND_END if self.run.interruption() else SAVE if self.timer.is_due() else 0
        agreed = self.all_reduce_max(wish)
        self.ending = agreed == SAVE_AND_END
        control.should_save = control.should_save or agreed > 0

    def complete(self, step: Step, logs: Mapping[str, Any]) -> Step:  # noqa: ARG002 - the base class's signature
        """Return a step with what the loss measured since the last one, and some answers that were drawn."""
        self.last_loss, rollouts = step.loss, self.trainer.rollouts
        return dataclasses.replace(
            step,
            epoch=step.epoch / self.trainer.options.plan.cost.iterations,
            loss_metrics=self.trainer.take_metrics(),
            samples=rollouts.take_shown() if rollouts else [],
        )

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Let the weights meanwhile be those to answer with, which a schedule-free optimizer averages."""
        self.trainer.optimizer.eval()
        yield
        self.trainer.optimizer.train()
