"""TRL's SFTTrainer with two things of our own: a step's rows come packed, and the loss looks at learned tokens only.

A batch of the trainer is an optimizer step. It is cut into parts, one forward and backward pass each, by `Packer`; how
much a part may hold is what `per_device_train_batch_size` says. The loss does not go through TRL's fused head, which in
TRL 1.15 launches Triton even on a CPU.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from framework.records import Step, TokenRow
from framework.schema import Optimizer
from framework_hf.config import HFTrainerConfig
from framework_hf.hardware import Hardware
from framework_hf.losses import Losses
from framework_hf.order import Order
from framework_hf.packing.parts import Packer, Part

NUMBER = "number"
"""The one column of the trainer's data set: which row."""


@dataclass(frozen=True)
class Collator:
    """Reads the rows of a step and packs them; can be sent to a worker process."""

    rows: Sequence[TokenRow]
    packer: Packer

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, list[Part]]:
        """Return the parts of a step."""
        return {"parts": self.packer([self.rows[item[NUMBER]] for item in items])}


class SupervisedTrainer(SFTTrainer):
    """SFTTrainer on packed steps.

    Args:
        losses: computes the loss of a part.
        order: in which order the rows are seen.
        **arguments: the parent's.
    """

    tokens = 0
    """Tokens of the rows so far, padding left out."""
    supervised_tokens = 0
    computed_tokens = 0
    """Tokens that went through the model so far: shared ones once, padding included."""

    def __init__(self, losses: Losses, order: Order, **arguments: Any) -> None:
        self.losses = losses
        self.order = order
        super().__init__(**arguments)

    def _get_train_sampler(self, *_: Any, **__: Any) -> Order:
        """Take our own order; the parent's method is where a trainer chooses it."""
        return self.order

    def training_step(self, model: torch.nn.Module, inputs: dict[str, list[Part]], *_: Any, **__: Any) -> torch.Tensor:
        """Make the passes of one optimizer step, and return its mean loss over the learned tokens."""
        losses = [super(SupervisedTrainer, self).training_step(model, part) for part in inputs["parts"]]
        return torch.stack(losses).sum()

    def compute_loss(
        self,
        model: torch.nn.Module,  # noqa: ARG002 - the parts of the model are called one by one
        inputs: Part,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the signature is the parent's
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002 - a part carries the count of its step
    ) -> torch.Tensor:
        """Return the loss of one part, divided by the learned tokens of the whole optimizer step.

        Dividing by the step's count, not the part's, makes 4 x 1 and 1 x 4 the same training.
        """
        if return_outputs:
            message = "this trainer never builds logits for the caller"
            raise ValueError(message)
        self.tokens += inputs["tokens"]
        self.supervised_tokens += inputs["supervised"]
        self.computed_tokens += inputs["input_ids"].numel()
        with self.accelerator.autocast():
            loss = self.losses.sum(inputs)
        return torch.div(loss, inputs["count"])


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


def sft_config(training: HFTrainerConfig, hardware: Hardware, seed: int, scratch: str, *, autocast: bool) -> SFTConfig:
    """Put a trainer's settings into TRL's words. Names that changed between versions are looked up, not guessed."""
    known = inspect.signature(SFTConfig).parameters
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    return SFTConfig(
        output_dir=scratch,
        learning_rate=training.learning_rate,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        # To the trainer a whole step is one batch; `Packer` cuts it.
        per_device_train_batch_size=training.per_device_train_batch_size * training.gradient_accumulation_steps,
        gradient_accumulation_steps=1,
        dataloader_num_workers=training.dataloader_num_workers,
        warmup_steps=training.warmup_steps,
        lr_scheduler_type=training.lr_scheduler_type.value,
        # One kernel for all weights of a step; it computes what adamw_torch does.
        optim="adamw_torch_fused" if hardware.optimizer is Optimizer.adamw_torch else hardware.optimizer.value,
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        logging_steps=training.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a training that diverges is to be seen
        seed=seed,
        data_seed=seed,
        use_cpu=hardware.device == "cpu",
        bf16=autocast and hardware.dtype is torch.bfloat16,
        fp16=autocast and hardware.dtype is torch.float16,
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
