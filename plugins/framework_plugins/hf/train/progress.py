"""Work between the steps of the trainer: log entries, validations, a rehearsal, and the instructions of the run."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from framework.api import Step, counting
from framework.api.training import StepControl, TrainerConfig, TrainRun
from framework_plugins.hf.train.best_weights import BestWeights
from framework_plugins.hf.train.trainer import SupervisedTrainer

Validation = tuple[float | None, Mapping[str, float]]
"""The validation loss, and what else is measured: the loss of each validation set, and what prompts give."""


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


class Progress(TrainerCallback):
    """Turns the trainer's log entries into steps, with the validations, and does what the run says after each.

    Args:
        trainer: the trainer.
        run: receives each step, and returns a `StepControl`.
        validate: takes the validation loss and what else is measured.
        rehearse: makes the largest pass of a run with this many steps, if the run is long enough for that.
        best: sets weights aside.
        training: says when a validation is due.
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
        self.trainer = trainer
        self.run = run
        self.validate = validate
        self.rehearse = rehearse
        self.best = best
        self.training = training
        self.timer = timer
        self.all_reduce_max = all_reduce_max
        self.ending = False
        """Whether the training ends after the checkpoint of this step."""
        self.updating = False
        """Whether the optimizer is updating: some of the weights may be those of the next step."""
        self.first_step = ExitStack()
        """Shows that the first step of this process is in work, which may take a minute."""
        self.start = time.perf_counter()
        self.paused = 0.0
        self.last_loss = float("nan")
        self.validated = False
        """Whether there was a validation."""
        self.validation: Validation = (None, {})
        """That of this step."""
        self.reported: list[Step] = []
        """All steps so far, with those of an earlier process."""
        self.earlier_seconds = 0.0
        """Seconds that an earlier process took."""
        self.resumed_at = 0
        """The step after which this process resumed."""
        self.unlogged: tuple[float, int] | None = None
        """The sum of the losses since the last log entry before the checkpoint, and the step of that."""

    @property
    def seconds(self) -> float:
        """Seconds of training, validations left out."""
        return time.perf_counter() - self.start - self.paused

    def resumed(self, seconds: float, steps: list[Step], unlogged: tuple[float, int]) -> None:
        """Take the steps that an earlier process reported, and those that it had not reported yet."""
        self.earlier_seconds, self.reported, self.unlogged = seconds, steps, unlogged

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Report the steps of an earlier process again, for all loggers, and start the clock."""
        if any(step.metrics for step in self.reported):
            self.run.measure()  # this shows whether higher is better to whoever compares metrics
        for step in self.reported:
            self.run.on_step(dataclasses.replace(step, repeated=True))  # what was to be done then is done
            self.last_loss = step.loss
            self.validated = self.validated or step.eval_loss is not None or bool(step.metrics)
        self.resumed_at = state.global_step
        self.start = time.perf_counter() - self.earlier_seconds
        self.timer.start()
        if self.unlogged:
            self.trainer.continue_log_entry(*self.unlogged)
        self.first_step.enter_context(
            counting(None, "", f"step {self.resumed_at + 1}" if self.resumed_at else "the first step")
        )

    def on_epoch_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Choose the order of the epoch: not every data loader passes it on."""
        self.trainer.order.set_epoch(int(state.epoch or 0))

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
        if self.training.validation_is_due(step, len(train_dataloader), total, validated=self.validated):
            self._validate()
            control.should_log = control.should_log or self.validation != (None, {})
        control.should_log = control.should_log or step == total
        wish = SAVE_AND_END if self.run.interruption() else SAVE if self.timer.is_due() else 0
        agreed = self.all_reduce_max(wish)
        self.ending = agreed == SAVE_AND_END
        control.should_save = control.should_save or agreed > 0

    def _validate(self) -> None:
        before = time.perf_counter()
        with self.trainer.averaged_weights():
            self.validation = self.validate()
        self.validated = self.validated or self.validation[0] is not None or bool(self.validation[1])
        self.paused += time.perf_counter() - before

    def on_log(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **__: Any
    ) -> None:
        """Pass a log entry on, and obey."""
        if "loss" not in logs:
            return
        self.last_loss = float(logs["loss"])
        step = Step(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=float(logs["epoch"]) / self.trainer.options.plan.cost.iterations,
            loss=self.last_loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=float(logs["grad_norm"]),
            tokens=self.trainer.tokens,
            seconds=self.seconds,
            loss_metrics=self.trainer.take_metrics(),
            samples=self.trainer.rollouts.take_shown() if self.trainer.rollouts else [],
        )
        checked = self.validation != (None, {})
        if not self._report_step(step).stop:
            return
        control.should_training_stop = True
        if self.validated and not checked and step.step < step.total_steps:
            self._validate()
            self._report_step(step)

    def _report_step(self, step: Step) -> StepControl:
        """Tell a step with the validation after it, and do what is to be done before the next one."""
        (loss, metrics), self.validation = self.validation, (None, {})
        step = dataclasses.replace(step, eval_loss=loss, metrics=dict(metrics))
        self.reported.append(step)
        control = self.run.on_step(step) or StepControl()
        if control.keep:
            with self.trainer.averaged_weights():
                self.best.set_aside(step.step)
        if control.rate != 1:
            self.trainer.scale_rates(control.rate)
        return control
