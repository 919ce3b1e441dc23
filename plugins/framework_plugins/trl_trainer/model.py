"""A model that `trainer=hf` loads, measures and saves, and that a trainer of TRL trains."""

from __future__ import annotations

import copy
import importlib
import shutil
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

import torch
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import PrinterCallback, Trainer

from framework import FrameworkError
from framework.api import (
    Guard,
    RewardContext,
    TrainResult,
    as_text,
    is_out_of_memory,
    rewarding,
    summarize_error,
    unknown,
)
from framework.api.training import TokenGroup, TokenRow, TrainRun, answer_rows
from framework_plugins.hf.extend import (
    BestWeights,
    Checkpoints,
    HFModel,
    TrainingOptions,
    free_memory,
    peak_memory,
    with_gradients,
)
from framework_plugins.trl_trainer import library, rows
from framework_plugins.trl_trainer.checks import method_arguments, method_of, trainer_source
from framework_plugins.trl_trainer.progress import Progress

CHECKPOINTING = "activation_checkpointing"
if CHECKPOINTING not in library.class_fields("SFTTrainer"):  # of older versions of transformers
    CHECKPOINTING = "gradient_checkpointing"
REFERENCE = "ref"
"""The name of the adapter in which TRL keeps the start of a training."""


class OfTheRun:
    """What a trainer of TRL takes from the run: its optimizer and its schedule, tokens, and what counts them."""

    options: TrainingOptions
    tokens = 0
    """Tokens of the rows so far, padding left out."""
    supervised_tokens = computed_tokens = 0

    def _prepare_dataset(self: Any, dataset: Dataset, *arguments: Any, **named: Any) -> Dataset:
        """Leave rows that are tokens already; TRL's own preparation writes and tokenizes them again."""
        if "prompt_ids" not in dataset.column_names:
            prepared: Dataset = super()._prepare_dataset(dataset, *arguments, **named)  # type: ignore[misc] # as below
            return prepared
        if not getattr(self, "calculate_KL", False):
            return dataset

        def mismatch(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            answers = batch["completion_ids"]
            return {"KL_completion_ids": [answers[-1], *answers[:-1]]}

        size = (named["args"] if "args" in named else arguments[1]).per_device_train_batch_size
        return dataset.map(mismatch, batched=True, batch_size=size)

    def create_optimizer(self: Any, model: Any = None) -> Any:
        """Have the option of the run make it."""
        if self.optimizer is None:
            target = self.model if model is None else model
            self.optimizer = self.options.optimizer(target, {*self.get_decay_parameter_names(target)})
        return self.optimizer

    def create_scheduler(self: Any, num_training_steps: int, optimizer: Any = None) -> Any:
        """Let the option of the run say the factor of each step."""
        if self.lr_scheduler is None:
            factor = self.options.plan.rate_factor(num_training_steps)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, factor)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(self: Any, model: Any, inputs: Mapping[str, Any], *arguments: Any, **named: Any) -> Any:
        """Count the tokens of a pass."""
        masks = [inputs[name] for name in ("attention_mask", "prompt_mask") if inputs.get(name) is not None]
        completions, labels = inputs.get("completion_mask"), inputs.get("labels")
        if completions is not None and "prompt_mask" in inputs:
            masks.append(completions)
        parts = [value for value in (inputs.get("input_ids"), *masks) if isinstance(value, torch.Tensor)]
        self.computed_tokens += sum(part.numel() for part in masks or parts)
        self.tokens += sum(int(mask.sum()) for mask in masks) or sum(part.numel() for part in parts)
        learned = completions if labels is None else labels[:, 1:] != TokenRow.IGNORE
        self.supervised_tokens += 0 if learned is None else int(learned.sum())
        return super().compute_loss(model, inputs, *arguments, **named)  # type: ignore[misc] # the class beside it has it

    def _send_telemetry(self) -> None:
        """Send nothing; TRL's method tells huggingface.co about the machine and the model at each start."""


class TrlModel(HFModel):
    """A base model with the adapter of the run, or one whose weights are all trained, by a trainer of TRL."""

    @property
    def option(self) -> str:
        """The setting that chooses the trainer."""
        name = self.plan.trainer.config.trl_class
        return f"trainer.trl_class={name}" if name else "trainer=trl"

    def trainer_type(self) -> tuple[type[Any], library.Source]:
        """Import the class that trains, and return it with the class of TRL that it is or is built on.

        Raises:
            FrameworkError: it cannot be imported, or is not a trainer of TRL.
        """
        source, name = trainer_source(self.plan), self.plan.trainer.config.trl_class
        place, _, short = (source.module, "", source.name) if source else str(name).replace(":", ".").rpartition(".")
        with Guard(f"{self.option} cannot be imported", passes=is_out_of_memory):
            module = importlib.import_module(place)
        kind = getattr(module, short, None)
        if kind is None:
            names = {
                key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, Trainer)
            }
            raise FrameworkError(f"{self.option}: {unknown('trainer', short, names)}")
        if source is None and isinstance(kind, type):
            of_trl = [part for part in kind.__mro__ if part.__module__.partition(".")[0] == "trl"]
            source = (
                library.find(f"trl.{of_trl[0].__name__}") if of_trl and of_trl[0].__name__ != "_BaseTrainer" else None
            )
        if source is None or not issubclass(kind, Trainer):
            raise FrameworkError(f"{self.option} is not a trainer of TRL: subclass one, such as trl.SFTTrainer")
        if library.gives_scores(source) and self.plan.training.answers():  # of another package
            raise FrameworkError(f"{self.option} is built on RewardTrainer: set trainer.trl_class=RewardTrainer")
        if (wanted := method_of(source)) != (method := self.plan.method.component.name):
            raise FrameworkError(
                f"{self.option} learns from the rows of method={wanted}, and the run has method={method}"
            )
        return kind, source

    def arguments(self, folder: Path) -> Any:
        """Return the config of the trainer, which TRL checks.

        Raises:
            FrameworkError: TRL refuses a value.
        """
        _, source = self.trainer_type()
        config = library.config_of(source)
        kind = getattr(importlib.import_module(config.module), config.name)
        names, training, args = library.fields_of(config), self.plan.training, self.plan.trainer.config.args
        hints = typing.get_type_hints(kind)
        for name, value in args.items():
            if name in hints and not _fits(value, hints[name]):
                wanted = str(hints[name]).removeprefix("<class '").removesuffix("'>")
                raise FrameworkError(f"trainer.args.{name}={as_text(value)}: TRL's {config.name} takes {wanted}")
        on_cpu, dtype = self.machine.device == "cpu", self.machine.dtype
        # A pass of TRL has answers, and one of this program prompts with all of their answers.
        answers = self.plan.method.config.sampling(0).n if "num_generations" in names else 1
        values = {
            "output_dir": str(folder),
            "learning_rate": training.learning_rate,
            "num_train_epochs": training.num_train_epochs,
            "max_steps": training.max_steps or -1,
            "per_device_train_batch_size": training.per_device_train_batch_size * answers,
            "gradient_accumulation_steps": training.gradient_accumulation_steps,
            "weight_decay": training.weight_decay,
            "max_grad_norm": training.max_grad_norm,
            "max_length": training.max_seq_length,
            "logging_steps": training.logging_steps,
            "logging_first_step": True,
            "logging_nan_inf_filter": False,  # a training that diverges is to be seen
            "seed": self.plan.seed,
            "data_seed": self.plan.seed,
            "use_cpu": on_cpu,
            "bf16": dtype is torch.bfloat16,
            "fp16": dtype is torch.float16,
            CHECKPOINTING: self.machine.checkpointing,
            "dataloader_pin_memory": not on_cpu,
            "eval_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "reward_weights": [choice.config.weight for choice in self.plan.reward.values()],
            "chat_template_kwargs": self.plan.model.config.template_switches or None,
            **method_arguments(self.plan, source, names),
            **args,
        }
        try:
            return kind(**{name: value for name, value in values.items() if name in names})
        except (TypeError, ValueError, NotImplementedError, ImportError) as error:
            raise FrameworkError(
                f"trainer.args: TRL's {config.name} refuses its fields: {summarize_error(error)}"
            ) from error

    def train(self, rows: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun) -> TrainResult:
        """Let TRL train, and save the weights into `run.checkpoint`.

        Raises:
            FrameworkError: TRL refuses the model, its settings or the rows.
        """
        with with_gradients():
            validation = [group for group in validation if not self.plan.method.config.samples]
            if validation:
                self.rehearse(validation)
            free_memory()  # the baseline's
            try:
                result = self._train_with_trl(rows, validation, run)
            finally:
                shutil.rmtree(run.scratch, ignore_errors=True)
        free_memory()  # the training's
        self.trained = True
        return result

    def rehearse(self, validation: Sequence[TokenGroup]) -> None:
        """Try the longest pass of a validation, so that it cannot be what fails after an hour."""
        self.open_losses().rehearse(answer_rows(validation))

    def _train_with_trl(
        self, groups: Sequence[TokenGroup], validation: Sequence[TokenGroup], run: TrainRun
    ) -> TrainResult:
        model, checkpoints = self.model, Checkpoints(self.plan)
        trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
        total = sum(weight.numel() for weight in model.parameters())
        use_cache = model.config.use_cache
        newest = checkpoints.newest(groups)
        trainer = self._trainer(groups, run)
        best = BestWeights(model, run.scratch)
        validate: Callable[[], Any] = lambda: self.validate(validation, run)  # noqa: E731
        progress = Progress(trainer, run, validate, best, self.plan.training, checkpoints, groups)
        trainer.remove_callback(PrinterCallback)  # the loggers of the run print
        trainer.add_callback(progress)
        with Guard(f"{self.option}: TRL's training fails", KeyboardInterrupt, passes=is_out_of_memory):
            trainer.train(resume_from_checkpoint=progress.resume(newest) if newest else None)
        best.restore(trainer.state.global_step)
        if REFERENCE in getattr(model, "peft_config", {}):
            model.delete_adapter(REFERENCE)
            model.set_adapter("default")
        # Out of the trainer's autocast again: answers before and after are computed the same way.
        trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)
        model.config.use_cache = use_cache
        model.eval()
        self.save_weights(run.checkpoint)
        return TrainResult(
            steps=trainer.state.global_step,
            epochs=float(trainer.state.epoch or 0),
            train_loss=progress.mean_loss,
            last_loss=progress.reported[-1].loss,
            seconds=progress.seconds,
            tokens=trainer.tokens,
            supervised_tokens=trainer.supervised_tokens,
            trainable_parameters=trainable,
            total_parameters=total,
            peak_memory_bytes=peak_memory(self.machine.device),
            checkpoint=run.checkpoint.name,
            computed_tokens=trainer.computed_tokens,
            resumed=progress.resumed_at,
        )

    def _trainer(self, groups: Sequence[TokenGroup], run: TrainRun) -> Any:
        """Make the trainer."""
        kind, source = self.trainer_type()
        named = self._data(source, groups, run) | self.plan.trainer.config.init
        mixed = type(kind.__name__, (OfTheRun, kind), {"options": TrainingOptions(self.plan, self.machine.optimizer)})
        self.machine.facts["training"] = f"{kind.__module__}.{kind.__qualname__}"
        shown = not are_progress_bars_disabled()
        disable_progress_bars()  # the loggers of the run show what is done
        try:
            return mixed(
                model=self.model,
                args=self.arguments(run.scratch),
                processing_class=copy.deepcopy(self.tokenizer),  # TRL changes how it pads and cuts
                **named,
            )
        except (TypeError, ValueError, NotImplementedError, ImportError) as error:
            raise FrameworkError(
                f"{self.option}: TRL's {kind.__name__} refuses this run: {summarize_error(error)}"
            ) from error
        finally:
            if shown:
                enable_progress_bars()

    def _data(self, source: library.Source, groups: Sequence[TokenGroup], run: TrainRun) -> dict[str, Any]:
        """Return the rows as a trainer reads them, and the rewards."""
        method = method_of(source)
        if method == "grpo":
            return {"train_dataset": rows.questions(run.prompts), "reward_funcs": self._reward_functions(run)}
        if library.gives_scores(source):
            return {"train_dataset": rows.scored(groups)}
        if method == "dpo":
            return {"train_dataset": rows.pairs(groups)}
        if method == "kto":
            return {"train_dataset": rows.labelled(groups)}
        if source.name == "SFTTrainer":
            return {"train_dataset": rows.token_rows(groups)}
        made = rows.answered if library.reads_prompts(source) else rows.conversations
        return {"train_dataset": made(run.prompts)}

    def _reward_functions(self, run: TrainRun) -> list[Callable[..., list[float | None]]]:
        """Return the rewards of the run as functions that TRL calls."""
        rewards = rewarding.rewarder(self.plan.reward)

        def function(name: str) -> Callable[..., list[float | None]]:
            def score(completion_ids: Sequence[Sequence[int]], row: Sequence[int], trainer_state: Any, **_: Any) -> Any:
                prompts = [run.prompts[index] for index in row]
                answers = [self.sampled(prompt, ids, ()) for prompt, ids in zip(prompts, completion_ids, strict=True)]
                context = RewardContext(trainer_state.global_step, trainer_state.max_steps)
                return rewards.score(name, prompts, answers, context)

            score.__name__ = name
            return score

        return [function(name) for name in rewards.rewards]


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of the type that a field of TRL names, as far as that is a plain one."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in {Union, UnionType}:
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    kinds = {bool, str, type(None), list, dict}
    return not (hint in kinds or origin in kinds) or isinstance(value, origin or hint)
