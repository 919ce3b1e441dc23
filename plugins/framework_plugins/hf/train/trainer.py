"""transformers' Trainer, set up by TRL's SFTTrainer, with packed steps and a loss of learned tokens only.

A batch of the trainer is an optimizer step. It is cut into parts, one forward and backward pass each, by `Packer`; how
much a part may hold is what `per_device_train_batch_size` says, or `tokens_per_pass`. Where memory runs out, the step
starts again with smaller parts. `step.py` makes the passes: neither TRL's nor the model's own loss function is called.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from torch.utils.data import SequentialSampler
from trl import SFTConfig, SFTTrainer

from framework import FrameworkError
from framework.api.training import TokenGroup, TokenRow
from framework_plugins.hf.loss.passes import LENGTH_SETTING, Passes
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.out_of_memory import OomRetry, RandomState
from framework_plugins.hf.machine.precision import rounded_once, tf32
from framework_plugins.hf.packing.parts import Packer, Part
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.settings.library_fields import non_default
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import Order
from framework_plugins.hf.train.rollouts import Rollouts
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep, StepOutcome, StepRows, pack

T = TypeVar("T")
ROW_COLUMN = "number"
"""The one column of the trainer's data set: which row."""
ROUTER_SETTINGS = ("output_router_logits", "router_aux_loss_coef")


@dataclass
class Collator:
    """Reads the groups of a step and packs them; can be sent to a worker process, where its packer stays as it was.

    Attributes:
        rows: of the training.
        packer: cuts them.
        objective: of the run.
        asks: whether the rows are prompts, whose answers come with the step itself.
    """

    rows: Sequence[TokenGroup]
    packer: Packer
    objective: CheckedObjective
    asks: bool = field(default=False, kw_only=True)

    def __call__(self, items: Sequence[dict[str, int]]) -> dict[str, Any]:
        """Return the parts of a step, and what is needed to pack it again."""
        numbers = [item[ROW_COLUMN] for item in items]
        parts, rows = ([], None) if self.asks else self.pack(self.read_rows(numbers))
        return {"parts": parts, "rows": rows, "numbers": numbers, "packer": self.packer}

    def pack(self, groups: Sequence[TokenGroup]) -> tuple[list[Part], StepRows]:
        """Return the parts of a step; see `step.pack`."""
        return pack(self.objective, self.packer, groups, slice(0, len(groups)), 1)

    def read_rows(self, numbers: Sequence[int]) -> list[TokenGroup]:
        """Read groups."""
        return [self.rows[index] for index in numbers]


class SupervisedTrainer(SFTTrainer):
    """SFTTrainer on packed steps.

    Args:
        passes: how rows go through the model.
        order: in which order the rows are seen.
        options: the optimizer and the schedule.
        oom_retry: what is done if memory runs out.
        step: makes the passes of a step.
        **arguments: the parent's; the collator is ours.
    """

    data_collator: Collator
    optimizer: Any
    """Made by `create_optimizer`; accelerate's wrapper of it during the training."""
    lr_scheduler: Any
    tokens = 0
    """Tokens of the rows so far, padding left out."""
    supervised_tokens = 0
    computed_tokens = 0
    """Tokens that went through the model so far: shared ones once, padding included."""
    loss_sum: torch.Tensor | float = 0.0
    """Sum of the losses of this process's steps, with those of an earlier process."""
    restore_state: Callable[[], None]
    """Puts the state of a checkpoint back, but for random numbers."""
    restore_random: Callable[[int, int, int], None]
    """Restores the random numbers for the number of this process, of how many, and the seed."""
    make_checkpoint: Callable[[], None]
    """Makes a checkpoint, and ends the training if it was asked to end."""
    rollouts: Rollouts | None = None
    """Makes the groups of a step from prompts, for a method that samples answers."""

    def __init__(
        self,
        passes: Passes,
        order: Order,
        options: TrainingOptions,
        oom_retry: OomRetry,
        step: OptimizerStep,
        **arguments: Any,
    ) -> None:
        self.passes = passes
        self.order = order
        self.options = options
        self.oom_retry = oom_retry
        self.step = step
        self.metrics: dict[str, list[float]] = {}
        self._compute: Callable[[Part], torch.Tensor] = passes.losses.mean
        model = arguments["model"]
        adapters = [(weight, weight.data) for weight in model.parameters() if weight.requires_grad]
        config = model.config.get_text_config()
        routers = {name: getattr(config, name) for name in ROUTER_SETTINGS if hasattr(config, name)}
        super().__init__(**arguments)
        # TRL casts the adapter of a quantized model to bf16, where late in a training an update is less than half of
        # what a weight's last digit is worth; and it lets a mixture of experts give the logits of its routers always,
        # also while it answers.
        for weight, data in adapters:
            if weight.dtype is not data.dtype:
                weight.data = data
        for name, value in routers.items():
            setattr(config, name, value)

    def _send_telemetry(self) -> None:
        """Send nothing; TRL's method tells huggingface.co about the machine and the model at each start."""

    def _get_train_sampler(self, *_: Any, **__: Any) -> Order | SequentialSampler:
        """Take our own order; the parent's method is where a trainer chooses it."""
        # Rollouts choose the prompts of a step: several steps may learn from the same ones.
        return self.order if self.rollouts is None else SequentialSampler(self.train_dataset)

    # The trainer stays TRL's; these two methods are where it chooses (decision 0091).
    def create_optimizer(self, model: Any = None) -> Any:
        """Have the option of the run make it; the parent knows those of transformers only."""
        if self.optimizer is None:
            target = self.model if model is None else model
            self.optimizer = self.options.optimizer(target, {*self.get_decay_parameter_names(target)})
        optimizer: torch.optim.Optimizer = self.optimizer
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let the option of the run say the factor of each step."""
        if self.lr_scheduler is None:
            factor = self.options.plan.rate_factor(num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        scheduler: torch.optim.lr_scheduler.LRScheduler = self.lr_scheduler
        return scheduler

    # The batch is a whole optimizer step, with a loss of our own: rows that share a prefix have to be in one pass, and
    # a step that runs out of memory begins again without a trace in the schedule (decisions 0015, 0016 and 0020).
    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Make the passes of one optimizer step, and return its loss."""
        step = self.state.global_step + 1
        read: Callable[[], Sequence[TokenGroup]] = partial(self.data_collator.read_rows, inputs["numbers"])
        parts, rows = inputs.pop("parts"), inputs["rows"]  # the caller keeps `inputs`, and a failed try has to be free
        if self.rollouts is not None:
            groups = self._drawn(self.rollouts, step)
            read = lambda: groups  # noqa: E731 - what is read again after memory ran out
        if rows is None or inputs["packer"] != self.passes.packer:  # packed before memory ran out
            parts, rows = self.data_collator.pack(read())
        outcome = self._attempt(model, read, parts, rows, f"training step {step}")
        if self.rollouts is not None:
            self.rollouts.check(step, outcome.metrics)
            outcome.metrics.update(self.rollouts.take_metrics())
        self.loss_sum = self.loss_sum + outcome.loss.detach()
        for name, value in outcome.metrics.items():
            self.metrics.setdefault(name, []).append(value)
        self.tokens += rows.step_tokens
        self.supervised_tokens += rows.tokens
        self.computed_tokens += sum(part["input_ids"].numel() for part in parts)
        return outcome.loss

    def _drawn(self, rollouts: Rollouts, step: int) -> Sequence[TokenGroup]:
        """Make the groups of a step; if that fails, what was learned before it is saved."""
        try:
            return rollouts(step)
        except FrameworkError:
            if step > 1 and self.args.world_size == 1:  # the processes of a group save together or not at all
                self.make_checkpoint()
            raise

    def take_metrics(self) -> dict[str, float]:
        """Return the means of what the objective measured since the last log entry, and begin again."""
        means = {name: sum(values) / len(values) for name, values in self.metrics.items()}
        self.metrics = {}
        return means

    def counters(self) -> dict[str, int]:
        """Return what was counted so far, in all processes."""
        return {name: getattr(self, name) for name in ("tokens", "supervised_tokens", "computed_tokens")}

    def _save_checkpoint(self, *_: Any, **__: Any) -> None:
        """Make a checkpoint in our own form; after the last step there is nothing to resume."""
        if self.state.global_step < self.state.max_steps and not self.control.should_training_stop:
            self.make_checkpoint()

    def open_log_entry(self) -> tuple[float, int]:
        """Return the sum of the losses since the last log entry, and its step."""
        # Older versions of transformers have the sum in a local variable: there the entry begins again.
        summed = getattr(self, "_tr_loss", None)
        return (0.0, self.state.global_step) if summed is None else (float(summed), self._globalstep_last_logged)

    def continue_log_entry(self, loss: float, step: int) -> None:
        """Continue with a log entry that began before a checkpoint."""
        if step < self.state.global_step:
            self._tr_loss += loss
            self._globalstep_last_logged = step

    def _load_from_checkpoint(self, *_: Any, **__: Any) -> None:
        """Wait: the parent calls this before all is in place."""

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Put back the whole state: model, optimizer and schedule are in place now."""
        if checkpoint is not None:
            self.restore_state()

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restore the random state; the parent calls this before the first step."""
        if checkpoint is not None:
            self.restore_random(self.args.process_index, self.args.world_size, self.args.seed)

    def scale_rates(self, factor: float) -> None:
        """Multiply the learning rates of all steps to come."""
        state = self.lr_scheduler.state_dict()
        for name in ("base_lrs", "_last_lr"):  # the rates at the peak, and those of the next step
            state[name] = [rate * factor for rate in state[name]]
        self.lr_scheduler.load_state_dict(state)
        for group in self.optimizer.param_groups:
            group["lr"] *= factor

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Let the weights meanwhile be those to answer with, which a schedule-free optimizer averages."""
        optimizer = self.optimizer.optimizer
        if not hasattr(optimizer, "eval"):
            yield
            return
        optimizer.eval()
        yield
        optimizer.train()

    def use_averaged_weights(self) -> None:
        """Leave the weights as they are to be saved: the training is over."""
        if hasattr(self.optimizer.optimizer, "eval"):
            self.optimizer.optimizer.eval()

    def rehearse(self, group: TokenGroup) -> None:
        """Take one group through the model and back, and leave everything as it was."""
        before = RandomState.now()
        self._attempt(self.model, lambda: [group], *self.data_collator.pack([group]), "a pass of the longest row")
        self.model.zero_grad()
        before.restore()

    def score_start(self, groups: Sequence[TokenGroup], add: Callable[[TokenRow, torch.Tensor], None]) -> None:
        """Score groups with the model as it is, those rows too that the objective makes from them."""
        before = RandomState.now()

        def score(parts: Sequence[Part], rows: StepRows) -> None:
            pairs = [(row, scored.cpu()) for row, scored in self.step.score(parts, rows, self.score)]
            for row, scored in chain.from_iterable(self.step.all_gather(pairs)):
                add(row, scored)

        self._with_retries(self.model, lambda: groups, *self.data_collator.pack(groups), "scoring the reference", score)
        before.restore()

    def start_values(self, groups: Sequence[TokenGroup]) -> tuple[float, float, float]:
        """Return what `OptimizerStep.at_start` gives of a step."""
        return self.step.at_start(*self.data_collator.pack(groups), self.score)

    def _attempt(
        self,
        model: torch.nn.Module,
        read: Callable[[], Sequence[TokenGroup]],
        parts: list[Part],
        rows: StepRows,
        where: str,
    ) -> StepOutcome:
        """Make the passes of a step; see `_with_retries`."""
        return self._with_retries(model, read, parts, rows, where, partial(self.passes_of, model))

    def _with_retries(
        self,
        model: torch.nn.Module,
        read: Callable[[], Sequence[TokenGroup]],
        parts: list[Part],
        rows: StepRows,
        where: str,
        make: Callable[[Sequence[Part], StepRows], T],
    ) -> T:
        """Make passes; after each fallback all are repeated, and `parts` are the new ones."""
        before, current = RandomState.now(), [rows]

        def reduce_memory() -> str:
            groups = read()
            parts.clear()
            model.zero_grad()
            before.restore()
            fallback = self.step.reduce_memory() or self.passes.reduce_memory(groups)
            self.data_collator.packer = self.passes.packer
            smaller, current[0] = self.data_collator.pack(groups)
            parts.extend(smaller)
            return fallback

        return self.oom_retry.attempt(lambda: make(parts, current[0]), reduce_memory, where, LENGTH_SETTING)

    def passes_of(self, model: torch.nn.Module, parts: Sequence[Part], rows: StepRows) -> StepOutcome:
        """Make the passes of a step."""
        return self.step(parts, rows, partial(self.one_pass, model), self.score)

    def one_pass(
        self,
        model: torch.nn.Module,
        part: Part,
        *,
        compute: Callable[[Part], torch.Tensor],
        is_last: bool,  # noqa: ARG002 - processes of a group meet after it
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> torch.Tensor:
        """Take one part through the model and back, and return its share of the step's loss."""
        self._compute = compute
        device_type = self.args.device.type
        # A part of the run may have switched gradients off, for good.
        with (
            torch.enable_grad(),
            tf32(device_type),
            rounded_once(self.model, device_type),
            self.passes.checkpointing(part),
        ):
            loss: torch.Tensor = super().training_step(model, {**part, **overrides} if overrides else part)
        return loss

    @torch.no_grad()
    def score(self, part: Part, compute: Callable[[Part], torch.Tensor]) -> torch.Tensor:
        """Take one part through the model."""
        with tf32(self.args.device.type), self.accelerator.autocast():
            return compute(self._prepare_inputs(part))

    def compute_loss(
        self,
        model: torch.nn.Module,  # noqa: ARG002 - the parts of the model are called one by one
        inputs: Part,
        return_outputs: bool = False,  # noqa: FBT001, FBT002 - the signature is the parent's
        num_items_in_batch: torch.Tensor | int | None = None,  # noqa: ARG002 - a part carries the count of its step
    ) -> torch.Tensor:
        """Return what one part adds to the loss of the whole optimizer step."""
        if return_outputs:
            raise ValueError("this trainer never builds logits for the caller")
        with self.accelerator.autocast():
            return self._compute(inputs)


def checkpointing_name() -> str:
    """Return what TRL's settings call gradient checkpointing; the name changed between versions."""
    parameters = inspect.signature(SFTConfig).parameters
    return "activation_checkpointing" if "activation_checkpointing" in parameters else "gradient_checkpointing"


def sft_config(
    training: HFTrainerConfig,
    hardware: Hardware,
    seed: int,
    scratch: str,
    *,
    autocast: bool,
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> SFTConfig:
    """Put a trainer's settings into TRL's words; `overrides` are words already, and win."""
    return SFTConfig(
        output_dir=scratch,
        learning_rate=training.learning_rate,
        num_train_epochs=training.num_train_epochs,
        max_steps=training.max_steps or -1,
        # To the trainer a whole step is one batch; `Packer` cuts it.
        per_device_train_batch_size=training.per_device_train_batch_size * training.gradient_accumulation_steps,
        gradient_accumulation_steps=1,
        dataloader_num_workers=training.dataloader_num_workers,
        neftune_noise_alpha=training.neftune_noise_alpha,
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
        save_strategy="steps" if training.save_steps else "no",
        save_steps=training.save_steps or 1,
        report_to=[],
        disable_tqdm=True,
        **{checkpointing_name(): hardware.checkpointing, **non_default(training.args), **overrides},
    )
