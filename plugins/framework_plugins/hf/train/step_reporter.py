"""Between the steps of any trainer of transformers: log entries, validations, and the instructions of the run."""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from framework.api import Step
from framework.api.training import StepControl, TrainerConfig, TrainRun
from framework_plugins.hf.train.best_weights import BestWeights

Validation = tuple[float | None, Mapping[str, float]]
"""The validation loss, and what else is measured: the loss of each validation set, and what prompts give."""
NO_VALIDATION: Validation = (None, {})


class StepReporter(TrainerCallback):
    """Turns a trainer's log entries into steps, with the validations, and does what the run says after each.

    Args:
        trainer: a trainer of transformers that counts `tokens`.
        run: receives each step, and returns a `StepControl`.
        validate: takes the validation loss and what else is measured.
        best: sets weights aside.
        training: says when a validation is due.

    Attributes:
        reported: all steps so far, with those of an earlier process.
        validation: that of this step.
        validated: whether there was one.
        resumed_at: the step after which this process resumed.
    """

    def __init__(
        self,
        trainer: Any,
        run: TrainRun,
        validate: Callable[[], Validation],
        best: BestWeights,
        training: TrainerConfig,
    ) -> None:
        self.trainer, self.run, self.validate, self.best, self.training = trainer, run, validate, best, training
        self.reported: list[Step] = []
        self.validation, self.validated, self.resumed_at = NO_VALIDATION, False, 0
        self.start, self.paused = time.perf_counter(), 0.0

    @abstractmethod
    def complete(self, step: Step, logs: Mapping[str, Any]) -> Step:
        """Return a step with what only this trainer knows of it."""

    def answering(self) -> AbstractContextManager[None]:
        """Let the weights meanwhile be those to answer with."""
        return nullcontext()

    @property
    def seconds(self) -> float:
        """Seconds of training, validations left out."""
        return time.perf_counter() - self.start - self.paused

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Report the steps of an earlier process again, for all loggers."""
        self.resumed_at = state.global_step
        if any(step.metrics for step in self.reported):
            self.run.measure()  # this shows whether higher is better to whoever compares metrics
        for step in self.reported:
            self.run.on_step(dataclasses.replace(step, repeated=True))  # what was to be done then is done
            self.validated = self.validated or step.eval_loss is not None or bool(step.metrics)

    def validate_if_due(self, step: int, epoch_steps: int, total: int) -> None:
        """Validate after a step if the settings say so."""
        if self.training.validation_is_due(step, epoch_steps, total, validated=self.validated):
            self._validate()

    def _validate(self) -> None:
        before = time.perf_counter()
        with self.answering():
            self.validation = self.validate()
        self.validated = self.validated or self.validation != NO_VALIDATION
        self.paused += time.perf_counter() - before

    def on_log(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **__: Any
    ) -> None:
        """Pass a log entry on, and obey."""
        if "loss" not in logs:
            return
        step = Step(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=float(logs["epoch"]),
            loss=float(logs["loss"]),
            learning_rate=float(logs["learning_rate"]),
            grad_norm=float(logs["grad_norm"]),
            tokens=self.trainer.tokens,
            seconds=self.seconds,
        )
        step, checked = self.complete(step, logs), self.validation != NO_VALIDATION
        if not self._report(step).stop:
            return
        control.should_training_stop = True
        if self.validated and not checked and step.step < step.total_steps:
            self._validate()
            self._report(step)

    def _report(self, step: Step) -> StepControl:
        """Tell a step with the validation after it, and do what is to be done before the next one."""
        (loss, metrics), self.validation = self.validation, NO_VALIDATION
        step = dataclasses.replace(step, eval_loss=loss, metrics=dict(metrics))
        self.reported.append(step)
        control = self.run.on_step(step) or StepControl()
        if control.keep:
            with self.answering():
                self.best.set_aside(step.step)
        if control.rate != 1:
            self._scale_rates(control.rate)
        return control

    def _scale_rates(self, factor: float) -> None:
        """Multiply the learning rates of all steps to come."""
        state = self.trainer.lr_scheduler.state_dict()
        for name in ("base_lrs", "_last_lr"):  # the rates at the peak, and those of the next step
            state[name] = [rate * factor for rate in state[name]]
        self.trainer.lr_scheduler.load_state_dict(state)
        for group in self.trainer.optimizer.param_groups:
            group["lr"] *= factor
