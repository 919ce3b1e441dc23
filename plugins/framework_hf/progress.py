"""What is told and done between the steps of the trainer: log entries, the validation loss, a rehearsal."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from framework.records import Step

if TYPE_CHECKING:
    from framework_hf.trainer import SupervisedTrainer


class Progress(TrainerCallback):
    """Turns the trainer's log entries into steps, with the validation loss at the end of each epoch but the last.

    Args:
        trainer: the trainer.
        on_step: is told each step.
        evaluate: takes the validation loss.
        rehearse: makes the hardest pass of a run with so many steps, if the run is long enough for that.
    """

    def __init__(
        self,
        trainer: SupervisedTrainer,
        on_step: Callable[[Step], None],
        evaluate: Callable[[], float | None],
        rehearse: Callable[[int], None],
    ) -> None:
        self.trainer = trainer
        self.on_step = on_step
        self.evaluate = evaluate
        self.rehearse = rehearse
        self.updating = False
        """Whether the optimizer is at work: some of the weights may be those of the next step."""
        self.start = time.perf_counter()
        self.paused = 0.0
        self.last_loss = float("nan")
        self.eval_loss: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training, evaluations left out."""
        return time.perf_counter() - self.start - self.paused

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note that weights are being changed."""
        self.updating = True

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Note that all of them are."""
        self.updating = False

    def on_step_end(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        """Rehearse after the first step: from now on the optimizer's states take their memory too."""
        if state.global_step == 1:
            self.rehearse(state.max_steps)

    def on_epoch_end(self, _: TrainingArguments, state: TrainerState, __: TrainerControl, **___: Any) -> None:
        """Take the validation loss."""
        if state.global_step < state.max_steps:
            before = time.perf_counter()
            self.eval_loss = self.evaluate()
            self.paused += time.perf_counter() - before

    def on_log(
        self, _: TrainingArguments, state: TrainerState, __: TrainerControl, logs: dict[str, Any], **___: Any
    ) -> None:
        """Pass a log entry on."""
        if "loss" not in logs:
            return
        self.last_loss = float(logs["loss"])
        step = Step(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=float(logs["epoch"]),
            loss=self.last_loss,
            learning_rate=float(logs["learning_rate"]),
            grad_norm=float(logs["grad_norm"]),
            tokens=self.trainer.tokens,
            seconds=self.seconds,
            eval_loss=self.eval_loss,
        )
        self.eval_loss = None
        self.on_step(step)
