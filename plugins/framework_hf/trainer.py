"""TRL's SFTTrainer with two things of our own: the rows come labelled, and the loss looks at supervised positions only.

The logits of a position that is not learned are never computed: the model is asked for the union of the supervised
positions of the batch (`logits_to_keep`). It is exact, it saves the vocabulary-sized products of the prompt, and it
does not go through TRL's fused head, which in TRL 1.15 launches Triton even on a CPU.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from framework.records import Step, TokenRow
from framework.schema import TrainerConfig
from framework_hf.chat import IGNORE
from framework_hf.hardware import Hardware

Batch = dict[str, torch.Tensor]
NUMBER = "number"
"""The one column of the trainer's data set: which row."""


def collate(rows: Sequence[TokenRow], pad_id: int) -> Batch:
    """Pad rows on the right: `input_ids`, `attention_mask`, `labels`, each (rows, longest)."""
    longest = max(len(row.input_ids) for row in rows)
    pairs = [(row, longest - len(row.input_ids)) for row in rows]
    return {
        "input_ids": torch.tensor([row.input_ids + [pad_id] * gap for row, gap in pairs]),
        "attention_mask": torch.tensor([[1] * len(row.input_ids) + [0] * gap for row, gap in pairs]),
        "labels": torch.tensor([row.labels + [IGNORE] * gap for row, gap in pairs]),
    }


def summed_loss(model: torch.nn.Module, batch: Batch) -> tuple[torch.Tensor, int]:
    """Return the summed cross entropy of a batch in nats, and over how many supervised tokens.

    `labels[:, t]` is predicted from position t-1, so what is kept is the position before each label.
    """
    targets = functional.pad(batch["labels"], (0, 1), value=IGNORE)[:, 1:]
    positions = (targets != IGNORE).any(dim=0).nonzero().squeeze(1)
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        logits_to_keep=positions,
        use_cache=False,
    ).logits
    kept = targets[:, positions]
    learned = kept != IGNORE
    loss = functional.cross_entropy(logits[learned].float(), kept[learned], reduction="sum")
    return loss, int(learned.sum())


class SupervisedTrainer(SFTTrainer):
    """SFTTrainer on labelled rows."""

    tokens = 0
    """Real tokens seen so far, padding left out."""
    supervised_tokens = 0

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Batch,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the signature is the parent's
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Return the loss of one micro-batch, divided by the supervised tokens of the whole optimizer step.

        Dividing by the step's count, not the micro-batch's, makes 4 x 1 and 1 x 4 the same training.
        """
        if return_outputs:
            message = "this trainer never builds logits for the caller"
            raise ValueError(message)
        loss, count = summed_loss(model, inputs)
        self.tokens += int(inputs["attention_mask"].sum())
        self.supervised_tokens += count
        return loss / (count if num_items_in_batch is None else num_items_in_batch)


class Progress(TrainerCallback):
    """Turns the trainer's log entries into steps, with the validation loss at the end of each epoch but the last."""

    def __init__(
        self, trainer: SupervisedTrainer, on_step: Callable[[Step], None], evaluate: Callable[[], float | None]
    ) -> None:
        self.trainer = trainer
        self.on_step = on_step
        self.evaluate = evaluate
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


def sft_config(training: TrainerConfig, hardware: Hardware, seed: int, scratch: str) -> SFTConfig:
    """Put a trainer's settings into TRL's words. Names that changed between versions are looked up, not guessed."""
    known = inspect.signature(SFTConfig).parameters
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return SFTConfig(
        output_dir=scratch,
        learning_rate=training.learning_rate,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        per_device_train_batch_size=training.per_device_train_batch_size,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        warmup_steps=training.warmup_steps,
        lr_scheduler_type=training.lr_scheduler_type.value,
        optim=hardware.optimizer.value,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        logging_steps=training.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a training that diverges is to be seen
        seed=seed,
        data_seed=seed,
        use_cpu=hardware.device == "cpu",
        bf16=hardware.dtype is torch.bfloat16,
        fp16=hardware.dtype is torch.float16,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=hardware.device == "cuda",
        eval_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **{checkpointing: hardware.checkpointing},
    )
