"""The training loop: order, passes, clipping, update, schedule, log entry, checkpoint.

A batch is an optimizer step. It is cut into parts, one forward and backward pass each, by `Packer`; how much a part may
hold is what `per_device_train_batch_size` says, or `tokens_per_pass`. If memory runs out, the step starts again with
smaller parts. `step_runner.py` makes the passes: the model's own loss function is not called. Devices, autocast and the
scale of gradients in fp16 are accelerate's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from accelerate import skip_first_batches
from accelerate.utils.memory import clear_device_cache
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments, set_seed
from transformers.integrations import activate_neftune, deactivate_neftune
from transformers.trainer_pt_utils import get_parameter_names

from framework import FrameworkError
from framework.api.training import TokenGroup
from framework_plugins.hf.settings.config import HFTrainerConfig
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import Order, total_steps
from framework_plugins.hf.train.rollouts import Rollouts
from framework_plugins.hf.train.step_runner import StepRunner

WITHOUT_DECAY = [r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)"]
"""Names of weights that weight decay leaves out, beside those of LayerNorm: transformers' Trainer has the same."""


class SupervisedTrainer:
    """Trains a model in packed steps.

    Args:
        model: what is trained.
        args: the machine, the precision and the seed.
        config: the settings.
        runner: makes the passes of each step.
        order: in which order the rows are seen.
        options: the optimizer and the schedule.
    """

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
    restore_random: Callable[[], None]
    on_prepared: Callable[[], None] = staticmethod(lambda: None)
    """What is done when the model is where it trains, before a checkpoint is restored."""
    make_checkpoint: Callable[[], None]
    """Makes a checkpoint, and ends the training if it was asked to end."""
    rollouts: Rollouts | None = None
    """Makes the groups of a step from prompts, for a method that samples answers."""

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        config: HFTrainerConfig,
        runner: StepRunner,
        order: Order,
        options: TrainingOptions,
    ) -> None:
        self.model = model
        self.args = args
        self.config = config
        self.runner = runner
        self.order = order
        self.options = options
        self.accelerator = runner.accelerator
        self.metrics: dict[str, list[float]] = {}
        self.callbacks: list[TrainerCallback] = []
        self.control = TrainerControl()
        rows = len(runner.collator.rows)
        self.epoch_steps = math.ceil(rows / order.batch)
        total = total_steps(options.plan, rows, order.batch)
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
        if resumes:
            self.restore_state()
        noise = self.config.neftune_noise_alpha
        hook = None if noise is None else activate_neftune(self.model, noise, self.accelerator)
        model = self.runner.model
        model.zero_grad()
        self._tell("on_train_begin", loader)
        for epoch in range(state.global_step // self.epoch_steps, state.num_train_epochs):
            self.order.set_epoch(epoch)
            self._tell("on_epoch_begin", loader)
            skipped = state.global_step % self.epoch_steps
            if resumes and not skipped:  # a loader draws from the state with which the epoch begins
                self.restore_random()
                resumes = False
            for batch in skip_first_batches(loader, skipped) if skipped else loader:
                if resumes:
                    self.restore_random()
                    resumes = False
                self.control.should_log = self.control.should_save = False
                self._tell("on_step_begin", loader)
                self.unlogged_loss += self.training_step(batch)
                norm = self.accelerator.clip_grad_norm_(model.parameters(), self.config.max_grad_norm or math.inf)
                self._tell("on_pre_optimizer_step", loader)
                self.optimizer.step()
                self._tell("on_optimizer_step", loader)
                (rate, *_) = self.lr_scheduler.get_last_lr()
                if not self.accelerator.optimizer_step_was_skipped:
                    self.lr_scheduler.step()
                model.zero_grad()
                state.global_step += 1
                state.epoch = state.global_step / self.epoch_steps
                if self._is_due(self.config.args.torch_empty_cache_steps):
                    clear_device_cache()
                self._tell("on_step_end", loader)
                if self.control.should_log or state.global_step == 1 or self._is_due(self.config.logging_steps):
                    self._log(norm, rate, loader)
                # After the last step there is nothing to resume.
                if (self.control.should_save or self._is_due(self.config.save_steps)) and not self._ends:
                    self.make_checkpoint()
                    self._tell("on_save", loader)
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
        numbers: Any = range(len(self.runner.collator.rows))
        sampler = self.order if self.rollouts is None else SequentialSampler(numbers)
        return DataLoader(
            numbers,
            batch_sampler=BatchSampler(sampler, self.order.batch, drop_last=False),
            collate_fn=self.runner.collator,
            num_workers=self.config.dataloader_num_workers,
            pin_memory=self.args.device.type == "cuda",
            persistent_workers=self.config.args.dataloader_persistent_workers,
            prefetch_factor=self.config.args.dataloader_prefetch_factor,
        )

    def _prepare(self) -> None:
        """Make the optimizer and the schedule, and put the model where it trains."""
        decayed = {*get_parameter_names(self.model, [torch.nn.LayerNorm], WITHOUT_DECAY)}
        optimizer = self.options.optimizer(self.model, decayed)
        self.runner.model, self.optimizer = self.accelerator.prepare(self.model, optimizer)
        factor = self.options.plan.rate_factor(self.state.max_steps)
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, factor)
        if self.runner.group is not None:
            engine.adopt(self, self.runner.group)
        self.on_prepared()

    def _log(self, norm: Any, rate: Any, loader: DataLoader[Any]) -> None:
        """Make a log entry: the mean loss since the last one, of all processes."""
        state = self.state
        loss = self.accelerator.gather(self.unlogged_loss).mean().item() / (state.global_step - self.logged_step)
        self.logged_step, self.unlogged_loss = state.global_step, torch.zeros_like(self.unlogged_loss)
        logs = {"loss": loss, "grad_norm": float(norm), "learning_rate": float(rate), "epoch": state.epoch}
        state.log_history.append({**logs, "step": state.global_step})
        self._tell("on_log", loader, logs=logs)

    # The batch is a whole optimizer step, with a loss of our own: rows that share a prefix have to be in one pass, and
    # a step that runs out of memory begins again without a trace in the schedule (decisions 0015 and 0016).
    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        """Make the passes of one optimizer step, and return its loss."""
        step, collator = self.state.global_step + 1, self.runner.collator
        read: Callable[[], Sequence[TokenGroup]] = partial(collator.read_rows, batch["numbers"])
        parts, rows = batch.pop("parts"), batch["rows"]  # the caller keeps `batch`, and a failed try has to be free
        if self.rollouts is not None:
            groups = self._drawn(self.rollouts, step)
            read = lambda: groups  # noqa: E731 - what is read again after memory ran out
        if rows is None or batch["packer"] != self.runner.passes.packer:  # packed before memory ran out
            parts, rows = collator.pack(read())
        self.optimizer.train()  # of a schedule-free one, whose weights differ while it trains
        outcome = self.runner.train(read, parts, rows, f"training step {step}")
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
            if step > 1 and self.runner.world.size == 1:  # the processes of a group save together or not at all
                self.make_checkpoint()
            raise

    def take_metrics(self) -> dict[str, float]:
        """Return the means of what the objective measured since the last log entry, and begin again."""
        means = {name: sum(values) / len(values) for name, values in self.metrics.items()}
        self.metrics = {}
        return means
