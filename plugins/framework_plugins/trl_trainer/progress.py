"""Work between the steps of a trainer of TRL: log entries, validations, checkpoints, and the orders of the run."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from framework.api import Step
from framework.api.training import TokenGroup, TrainerConfig, TrainRun
from framework_plugins.hf.extend import BestWeights, Checkpoints, StepReporter

STATE = "run.pt"
"""In a checkpoint of TRL: what the run needs besides."""
IN_STEP = frozenset({"loss", "grad_norm", "learning_rate", "epoch", "num_tokens", "num_input_tokens_seen"})
"""Parts of TRL's log entries that a `Step` has under a name of its own."""


class Progress(StepReporter):
    """Keeps the checkpoints of a training by TRL, and reads what its log entries measure.

    Args, besides those of `StepReporter`:
        checkpoints: of the run, into which those of TRL are moved.
        rows: of the training.
    """

    def __init__(
        self,
        trainer: Any,
        run: TrainRun,
        validate: Callable[[], tuple[float | None, Mapping[str, float]]],
        best: BestWeights,
        training: TrainerConfig,
        checkpoints: Checkpoints,
        rows: Sequence[TokenGroup],
    ) -> None:
        super().__init__(trainer, run, validate, best, training)
        self.checkpoints, self.rows, self.stopping = checkpoints, rows, False

    @property
    def mean_loss(self) -> float:
        """The mean loss of all steps."""
        ends = [step.step for step in self.reported]
        counts = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        return sum(count * step.loss for count, step in zip(counts, self.reported, strict=True)) / ends[-1]

    def resume(self, checkpoint: Path) -> str:
        """Take the state of an earlier process from a checkpoint of TRL, and return the name of the folder."""
        state = torch.load(checkpoint / STATE, weights_only=True)
        self.run.restore(state["run"])
        self.reported = [Step(**step) for step in state["steps"]]
        self.start -= state["seconds"]
        for name, value in state["tokens"].items():
            setattr(self.trainer, name, value)
        if state["best"] is not None:
            self.best.set_aside(*state["best"])
        return str(checkpoint)

    def on_step_end(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, train_dataloader: Any, **__: Any
    ) -> None:
        """Validate, and save what is left to resume."""
        step, total = state.global_step, state.max_steps
        epoch_steps = max(1, len(train_dataloader) // self.trainer.args.gradient_accumulation_steps)
        self.validate_if_due(step, epoch_steps, total)
        control.should_log = control.should_log or step == total or self.validation != (None, {})
        self.stopping = step < total and self.run.interruption() is not None
        control.should_save = step < total and (control.should_save or self.stopping)

    def complete(self, step: Step, logs: Mapping[str, Any]) -> Step:
        """Return a step with the other numbers of the log entry."""
        metrics = {
            name: float(value) for name, value in logs.items() if name not in IN_STEP and isinstance(value, int | float)
        }
        return dataclasses.replace(step, loss_metrics=metrics)

    def on_log(
        self, _: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **__: Any
    ) -> None:
        """Pass a log entry on, and obey; a training that is stopped saves its weights and no checkpoint."""
        super().on_log(_, state, control, logs)
        control.should_save = control.should_save and not control.should_training_stop

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Move TRL's checkpoint to those of the run, and end the training where a signal asks for that."""
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        names = ("tokens", "supervised_tokens", "computed_tokens")
        best = None if self.best.step is None else (self.best.step, self.best.shards())
        content = {
            "run": dict(self.run.state()),
            "steps": [dataclasses.asdict(step) for step in self.reported],
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
