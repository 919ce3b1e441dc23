"""The training loop: order, passes, clipping, update, schedule, log entry, checkpoint.

A batch is an optimizer step. It is cut into parts, one forward and backward pass each, by `Packer`; how much a part may
hold is what `per_device_train_batch_size` says, or `tokens_per_pass`. If memory runs out, the step starts again with
smaller parts. `step.py` makes the passes: the model's own loss function is not called. Devices, autocast and the
scale of gradients in fp16 are accelerate's (decision 0097).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, skip_first_batches
from accelerate.utils.memory import clear_device_cache
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.integrations import activate_neftune, deactivate_neftune
from transformers.trainer_pt_utils import get_parameter_names

from framework import FrameworkError
from framework.api.training import ProcessGroup, TokenGroup, TokenRow
from framework_plugins.hf.loss.loss import to_device
from framework_plugins.hf.loss.passes import LENGTH_SETTING, Passes, enable_checkpointing
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.out_of_memory import OomRetry, RandomState
from framework_plugins.hf.machine.precision import rounded_once, tf32
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import Packer, Part
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.train.compiled import CompiledLayers
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import Order, total_steps
from framework_plugins.hf.train.rollouts import Rollouts
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep, StepOutcome, StepRows, pack

T = TypeVar("T")
WITHOUT_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
"""Names of weights that weight decay leaves out, beside those of LayerNorm: transformers' Trainer has the same."""


@dataclass
class Collator:
    """Reads the groups of a step and packs them; can be sent to a worker process, where its packer stays as it was.

    Attributes:
        rows: of the training.
        packer: cuts them.
        objective: of the run.
        asks: whether the rows are prompts, whose answers come with the step itself.
        world: the processes that share a step; each packs its own groups.
    """

    rows: Sequence[TokenGroup]
    packer: Packer
    objective: CheckedObjective
    asks: bool = field(default=False, kw_only=True)
    world: World = field(default=ALONE, kw_only=True)

    def __call__(self, numbers: Sequence[int]) -> dict[str, Any]:
        """Return the parts of a step, and what is needed to pack it again."""
        parts, rows = ([], None) if self.asks else self.pack(self.read_rows(numbers))
        return {"parts": parts, "rows": rows, "numbers": numbers, "packer": self.packer}

    def pack(self, groups: Sequence[TokenGroup]) -> tuple[list[Part], StepRows]:
        """Return the parts of a step; see `step.pack`."""
        return pack(self.objective, self.packer, groups, self.world)

    def read_rows(self, numbers: Sequence[int]) -> list[TokenGroup]:
        """Read groups."""
        return [self.rows[index] for index in numbers]


class SupervisedTrainer:
    """Trains a model in packed steps.

    Args:
        model: what is trained.
        args: the machine, the precision and the seed.
        config: the settings.
        collator: reads and packs the rows of a step.
        passes: how rows go through the model.
        order: in which order the rows are seen.
        options: the optimizer and the schedule.
        oom_retry: what is done if memory runs out.
        step: makes the passes of a step.
        world: the processes that train together.
        group: what was asked for; None: one process.
        accelerator: of a group of processes; None: one process.
        checkpointing: whether the model computes its activations again in the backward pass.
    """

    model: Any
    optimizer: Any
    """accelerate's wrapper of the optimizer, during the training."""
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
    on_prepared: Callable[[], None] = staticmethod(lambda: None)
    """What is done when the model is where it trains, before a checkpoint is restored."""
    make_checkpoint: Callable[[], None]
    """Makes a checkpoint, and ends the training if it was asked to end."""
    compiled: CompiledLayers | None = None
    """The layers that passes take instead of those of the model."""
    rollouts: Rollouts | None = None
    """Makes the groups of a step from prompts, for a method that samples answers."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        config: HFTrainerConfig,
        collator: Collator,
        passes: Passes,
        order: Order,
        options: TrainingOptions,
        oom_retry: OomRetry,
        step: OptimizerStep,
        *,
        world: World = ALONE,
        group: ProcessGroup | None = None,
        accelerator: Accelerator | None = None,
        checkpointing: bool = False,
    ) -> None:
        self.model = self.model_wrapped = model
        self.args = args
        self.config = config
        self.data_collator = collator
        self.passes = passes
        self.order = order
        self.options = options
        self.oom_retry = oom_retry
        self.step = step
        self.world, self.group = world, group
        self.accelerator = accelerator or Accelerator(mixed_precision=mixed_precision(args))
        self.metrics: dict[str, list[float]] = {}
        self.callbacks: list[TrainerCallback] = []
        self.control = TrainerControl()
        self.epoch_steps = math.ceil(len(collator.rows) / order.batch)
        total = total_steps(options.plan, len(collator.rows), order.batch)
        self.state = TrainerState(
            max_steps=total,
            num_train_epochs=math.ceil(total / self.epoch_steps),
            logging_steps=config.logging_steps,
            save_steps=config.save_steps or 0,
            train_batch_size=order.batch,
            is_local_process_zero=args.local_process_index == 0,
            is_world_process_zero=args.process_index == 0,
        )
        self.logged_step = 0
        """The step of the last log entry."""
        self.unlogged_loss = torch.tensor(0.0, device=args.device)
        """Sum of the losses since then."""
        set_seed(args.seed)
        if checkpointing:
            enable_checkpointing(model)

    def add_callback(self, callback: TrainerCallback) -> None:
        """Call a callback of transformers at each event."""
        self.callbacks.append(callback)

    def _tell(self, event: str, loader: DataLoader[Any], **more: Any) -> None:
        """Tell all callbacks of an event, as transformers' Trainer does."""
        for callback in self.callbacks:
            control = getattr(callback, event)(
                self.args, self.state, self.control, model=self.model, optimizer=self.optimizer,
                lr_scheduler=self.lr_scheduler, train_dataloader=loader, **more,
            )  # fmt: skip
            self.control = control or self.control

    def train(self, *, resumes: bool) -> TrainerState:
        """Train; `resumes`: from the state that `restore_state` puts back."""
        state, loader = self.state, self.loader()
        self._prepare()
        if self.group is not None:
            engine.adopt(self, self.group)
        self.on_prepared()
        if resumes:
            self.restore_state()
            self.logged_step = state.global_step
        noise = self.config.neftune_noise_alpha
        hook = None if noise is None else activate_neftune(self.model, noise, self.accelerator)
        self.model_wrapped.zero_grad()
        self._tell("on_train_begin", loader)
        for epoch in range(state.global_step // self.epoch_steps, state.num_train_epochs):
            self.order.set_epoch(epoch)
            self._tell("on_epoch_begin", loader)
            skipped = state.global_step % self.epoch_steps
            if resumes and not skipped:  # a loader draws from the state with which the epoch begins
                self._restore_random()
                resumes = False
            for batch in skip_first_batches(loader, skipped) if skipped else loader:
                if resumes:
                    self._restore_random()
                    resumes = False
                self.control.should_log = self.control.should_save = False
                self._tell("on_step_begin", loader)
                self.unlogged_loss += self.training_step(self.model_wrapped, batch)
                norm = self.accelerator.clip_grad_norm_(
                    self.model_wrapped.parameters(), self.config.max_grad_norm or math.inf
                )
                self._tell("on_pre_optimizer_step", loader)
                self.optimizer.step()
                self._tell("on_optimizer_step", loader)
                (rate, *_) = self.lr_scheduler.get_last_lr()
                if not self.accelerator.optimizer_step_was_skipped:
                    self.lr_scheduler.step()
                self.model_wrapped.zero_grad()
                state.global_step += 1
                state.epoch = state.global_step / self.epoch_steps
                self._free_cache()
                self._tell("on_step_end", loader)
                if self.control.should_log or state.global_step == 1 or self._is_due(self.config.logging_steps):
                    self._log(norm, rate, loader)
                if self.control.should_save or self._is_due(self.config.save_steps):
                    self._save_checkpoint(loader)
                if self._ends or self.control.should_epoch_stop:
                    break
            self.control.should_epoch_stop = False
            self._tell("on_epoch_end", loader)
            if self._ends:
                break
        self._tell("on_train_end", loader)
        if hook is not None:
            deactivate_neftune(self.model, hook, self.accelerator)
        return state

    @property
    def _ends(self) -> bool:
        """Whether the training is over."""
        return bool(self.control.should_training_stop or self.state.global_step >= self.state.max_steps)

    def _is_due(self, steps: int | None) -> bool:
        return bool(steps) and self.state.global_step % (steps or 1) == 0

    def loader(self) -> DataLoader[Any]:
        """Load whole steps, in every process of a group."""
        # accelerate would give each process steps of its own. Rollouts choose the prompts of a step.
        numbers: Any = range(len(self.data_collator.rows))
        sampler = self.order if self.rollouts is None else SequentialSampler(numbers)
        return DataLoader(
            numbers,
            batch_sampler=BatchSampler(sampler, self.order.batch, drop_last=False),
            collate_fn=self.data_collator,
            num_workers=self.config.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
            persistent_workers=self.config.args.dataloader_persistent_workers,
            prefetch_factor=self.config.args.dataloader_prefetch_factor,
        )

    def _prepare(self) -> None:
        """Make the optimizer and the schedule, and put the model where it trains."""
        decayed = {*get_parameter_names(self.model, [torch.nn.LayerNorm], WITHOUT_DECAY)}
        optimizer = self.options.optimizer(self.model, decayed)
        self.model_wrapped, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        factor = self.options.plan.rate_factor(self.state.max_steps)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)

    def _restore_random(self) -> None:
        """Restore the random numbers of a checkpoint."""
        self.restore_random(self.args.process_index, self.args.world_size, self.args.seed)

    def _free_cache(self) -> None:
        """Release unused memory of the GPU in the steps that the settings say."""
        if self._is_due(self.config.args.torch_empty_cache_steps):
            clear_device_cache()

    def _log(self, norm: Any, rate: Any, loader: DataLoader[Any]) -> None:
        """Make a log entry: the mean loss since the last one, of all processes."""
        state = self.state
        loss = self.accelerator.gather(self.unlogged_loss).mean().item() / (state.global_step - self.logged_step)
        self.logged_step, self.unlogged_loss = state.global_step, torch.zeros_like(self.unlogged_loss)
        logs = {"loss": loss, "grad_norm": float(norm), "learning_rate": float(rate), "epoch": state.epoch}
        state.log_history.append({**logs, "step": state.global_step})
        self._tell("on_log", loader, logs=logs)

    def _save_checkpoint(self, loader: DataLoader[Any]) -> None:
        """Make a checkpoint; after the last step there is nothing to resume."""
        if not self._ends:
            self.make_checkpoint()
            self._tell("on_save", loader)

    # The batch is a whole optimizer step, with a loss of our own: rows that share a prefix have to be in one pass, and
    # a step that runs out of memory begins again without a trace in the schedule (decisions 0015 and 0016).
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
            if step > 1 and self.world.size == 1:  # the processes of a group save together or not at all
                self.make_checkpoint()
            raise

    def take_metrics(self) -> dict[str, float]:
        """Return the means of what the objective measured since the last log entry, and begin again."""
        means = {name: sum(values) / len(values) for name, values in self.metrics.items()}
        self.metrics = {}
        return means

    def counters(self) -> dict[str, int]:
        """Return what was counted so far; of what went through the model, each process knows its own."""
        computed = int(self.world.all_sum(self.computed_tokens))
        return {"tokens": self.tokens, "supervised_tokens": self.supervised_tokens, "computed_tokens": computed}

    def open_log_entry(self) -> tuple[float, int]:
        """Return the sum of the losses since the last log entry, and its step."""
        return float(self.unlogged_loss), self.logged_step

    def continue_log_entry(self, loss: float, step: int) -> None:
        """Continue with a log entry that began before a checkpoint."""
        if step < self.state.global_step:
            self.unlogged_loss += loss
            self.logged_step = step

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
            for row, scored in chain.from_iterable(self.world.all_gather(pairs)):
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
        """Make passes; after each fallback all are repeated, and `parts` are the new ones.

        In a group nothing is repeated, which the others would wait for, and all make as many passes.
        """
        if rows.idle is not None:
            parts += [rows.idle] * (self.world.all_max(len(parts)) - len(parts))
            return make(parts, rows)
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
        is_last: bool,
        overrides: Mapping[str, Any] = MappingProxyType({}),
    ) -> torch.Tensor:
        """Take one part through the model and back, and return its share of the step's loss."""
        device_type = self.args.device.type
        # A part of the run may have switched gradients off, for good.
        with (
            torch.enable_grad(),
            tf32(device_type),
            rounded_once(self.model, device_type),
            self.passes.checkpointing(part),
            self.compiled.used() if self.compiled else nullcontext(),
            engine.in_step(self.accelerator, model, self.group, is_last=is_last),
        ):
            model.train()
            self.optimizer.train()  # of a schedule-free one, whose weights differ while it trains
            with self.accelerator.autocast():
                loss = compute(to_device({**part, **overrides}, self.args.device))
            self.accelerator.backward(loss)
        return loss.detach()

    @contextmanager
    def pass_context(self) -> Iterator[None]:
        """Compute meanwhile as in a pass."""
        device_type = self.args.device.type
        with tf32(device_type), rounded_once(self.model, device_type), self.accelerator.autocast():
            yield

    @torch.no_grad()
    def score(self, part: Part, compute: Callable[[Part], torch.Tensor]) -> torch.Tensor:
        """Take one part through the model."""
        with tf32(self.args.device.type), self.accelerator.autocast():
            return compute(to_device(part, self.args.device))


def mixed_precision(args: TrainingArguments) -> str:
    """Return the dtype of autocast in accelerate's words."""
    return "bf16" if args.bf16 else "fp16" if args.fp16 else "no"


def training_arguments(hardware: Hardware, seed: int, scratch: str, *, autocast: bool) -> TrainingArguments:
    """Set up this process with transformers' arguments, which callbacks read too."""
    return TrainingArguments(
        output_dir=scratch,
        seed=seed,
        use_cpu=hardware.device == "cpu",
        bf16=autocast and hardware.dtype is torch.bfloat16,
        fp16=autocast and hardware.dtype is torch.float16,
        report_to=[],
        disable_tqdm=True,
    )
