"""Work between the steps of a trainer of TRL: log entries, validations, checkpoints, and the orders of the run."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from framework.api import Step
from framework.api.training import StepControl, TokenGroup, TrainerConfig, TrainRun
from framework_plugins.hf.extend import BestWeights, Checkpoints

STATE = "run.pt"
"""In a checkpoint of TRL: what the run needs besides."""
IN_STEP = frozenset({"loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "num_input_tokens_seen"})
"""Parts of TRL's log entries that a `Step` has under a name of its own."""
Validation = tuple[float | None, Mapping[str, float]]


class Progress(TrainerCallback):
    """Turns TRL's log entries into steps, with the validations, and does what the run says after each.

    Args:
        trainer: the trainer.
        run: receives each step.
        validate: takes the validation loss and what else is measured.
        best: sets weights aside.
        training: says when a validation is due.
        checkpoints: of the run, into which those of TRL are moved.
        rows: of the training.
    """

    def __init__(
        self,
        trainer: Any,
        run: TrainRun,
        validate: Callable[[], Validation],
        best: BestWeights,
        training: TrainerConfig,
        checkpoints: Checkpoints,
        rows: Sequence[TokenGroup],
    ) -> None:
        self.trainer, self.run, self.validate, self.best = trainer, run, validate, best
        self.training, self.checkpoints, self.rows = training, checkpoints, rows
        self.steps: list[Step] = []
        """All steps so far, with those of an earlier process."""
        self.validation: Validation = (None, {})
        """That of this step."""
        self.validated = self.stopping = False
        self.resumed_at = 0
        self.start, self.paused = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """Seconds of training, validations left out."""
        return time.perf_counter() - self.start - self.paused

    @property
    def mean_loss(self) -> float:
        """The mean loss of all steps."""
        ends = [step.step for step in self.steps]
        counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        return sum(count * step.loss for count, step in zip(counts, self.steps, strict=True)) / ends[-1]

    def resume(self, checkpoint: Path) -> str:
        """Take the state of an earlier process from a checkpoint of TRL, and return the name of the folder."""
        state = torch.load(checkpoint / STATE, weights_only=True)
        self.run.restore(state["run"])
        self.steps = [Step(**step) for step in state["steps"]]
        self.start -= state["seconds"]
        for name, value in state["tokens"].items():
            setattr(self.trainer, name, value)
        if state["best"] is not None:
            self.best.set_aside(*state["best"])
        return str(checkpoint)

    def on_train_begin(self, _: TrainingArguments, state: TrainerState, *__: Any, **___: Any) -> None:
        """Report the steps of an earlier process again, for all loggers."""
        self.resumed_at = state.global_step
        if any(step.metrics for step in self.steps):
            self.run.measure()  # this shows whether higher is better to whoever compares metrics
        for step in self.steps:
            self.run.on_step(dataclasses.replace(step, repeated=True))
            self.validated = self.validated or step.eval_loss is not None or bool(step.metrics)

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, train_dataloader: Any, **__: Any
    ) -> None:
        """Validate, and save what is left to resume."""
        step, total = state.global_step, state.max_steps
        epoch_steps = max(1, len(train_dataloader) // self.trainer.args.gradient_accumulation_steps)
        if self.training.validation_is_due(step, epoch_steps, total, validated=self.validated):
            self._validate()
        control.should_log = control.should_log or step == total or self.validation != (None, {})
        self.stopping = step < total and self.run.interruption() is not None
        control.should_save = step < total and (control.should_save or self.stopping)

    def _validate(self) -> None:
        before = time.perf_counter()
        self.validation = self.validate()
        self.validated = self.validated or self.validation != (None, {})
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
            loss_metrics={
                name: float(value)
                for name, value in logs.items()
                if name not in IN_STEP and isinstance(value, int | float)
            },
        )
        checked = self.validation != (None, {})
        if not self._report(step).stop:
            return
        control.should_training_stop, control.should_save = True, False
        if self.validated and not checked and step.step < step.total_steps:
            self._validate()
            self._report(step)

    def _report(self, step: Step) -> StepControl:
        (loss, metrics), self.validation = self.validation, (None, {})
        step = dataclasses.replace(step, eval_loss=loss, metrics=dict(metrics))
        self.steps.append(step)
        control = self.run.on_step(step) or StepControl()
        if control.keep:
            self.best.set_aside(step.step)
        if control.rate != 1:
            schedule = self.trainer.lr_scheduler.state_dict()
            for name in ("base_lrs", "_last_lr"):  # the rates at the peak, and those of the next step
                schedule[name] = [rate * control.rate for rate in schedule[name]]
            self.trainer.lr_scheduler.load_state_dict(schedule)
            for group in self.trainer.optimizer.param_groups:
                group["lr"] *= control.rate
        return control

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Move TRL's checkpoint to those of the run, and end the training where a signal asks for that."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        names = ("tokens", "supervised_tokens", "computed_tokens")
        best = None if self.best.step is None else (self.best.step, self.best.shards())
        content = {
            "run": dict(self.run.state()),
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "seconds": self.seconds,
            "tokens": {name: getattr(self.trainer, name) for name in names},
            "best": best,
        }

        def write(target: Path) -> None:
            torch.save(content, target / STATE)
            for file in files:
                shutil.move(file, target / file.name)

        files = [file for file in folder.iterdir() if file.is_file()]  # a folder has the reference, which is the start
        needed = sum(file.stat().st_size for file in files)
        self.checkpoints.save(state.global_step, self.rows, write, needed)
        shutil.rmtree(folder, ignore_errors=True)
        if self.stopping and (error := self.run.interruption()):
            raise error
