"""A training from its first step to its saved weights, and its result."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from peft import PeftModel
from transformers import TrainerState, TrainingArguments

from framework import FrameworkError, Plan
from framework.api import Guard, Prompt, TrainResult, count, counting, is_out_of_memory, rewarding, summarize_error
from framework.api.training import Generator, Sampled, SamplingParams, TokenGroup, TokenRow, TrainRun
from framework_plugins.hf.load.adapt_model import as_base
from framework_plugins.hf.loss.passes import Passes, is_checkpointing
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.out_of_memory import OomRetry, RandomState, clear_frames
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.packing.parts import all_tokens
from framework_plugins.hf.score.scoring import Evaluation, longest_rows, validation_losses
from framework_plugins.hf.settings.config import HFTrainerConfig, Packing
from framework_plugins.hf.train.best_weights import BestWeights
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import Order, drawn_together, ordered_steps, row_order, steps_of, total_steps
from framework_plugins.hf.train.progress import CheckpointTimer, Progress, Validation
from framework_plugins.hf.train.reference import at_start, open_scores, row_key, start_problem
from framework_plugins.hf.train.resume.checkpoints import Checkpoints
from framework_plugins.hf.train.resume.training_state import TrainingState
from framework_plugins.hf.train.rollouts import Division, Rollouts
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep
from framework_plugins.hf.train.trainer import Collator, SupervisedTrainer, training_arguments

REHEARSAL_FACTOR = 20
"""A training needs this many times the tokens of a rehearsal to be worth one: a shorter one has little to lose."""


@dataclass(frozen=True)
class Training:
    """The parts of a training.

    Attributes:
        model: the loaded model.
        passes: how rows go through it.
        oom_retry: what is done if memory runs out.
        machine: what was picked.
        config: the settings.
        plan: of the run.
        tokenizer: of the model.
        cpu_kernels: whether layers are replaced by those of that room.
        checkpoints: of the run, from which it may resume.
        objective: what is learned.
        trainer_class: trains.
        template: a hash of tokenizer, template and masks.
        sample: draws answers, for a method that samples them while it trains; else None.
        save: writes the weights into a folder; of a group, it is given the weights in one piece.
    """

    model: Any
    passes: Passes
    oom_retry: OomRetry
    machine: hardware.Hardware
    config: HFTrainerConfig
    plan: Plan
    tokenizer: Any
    cpu_kernels: bool
    checkpoints: Checkpoints
    objective: CheckedObjective
    trainer_class: type[SupervisedTrainer]
    template: str
    sample: Generator | None
    save: Callable[..., None]

    def run(self, rows: Sequence[TokenGroup], run: TrainRun, validate: Callable[[], Validation]) -> TrainResult:
        """Train, and save the weights into `run.checkpoint`, those of the best validation if they were set aside.

        The checkpoints stay until the run has saved the result.

        Raises:
            FrameworkError: memory runs out and nothing can be made smaller.
        """
        if self.machine.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        fallbacks_before = len(self.oom_retry.fallbacks)
        trainer = self._trainer(rows, run)
        trainable = count_trainable(self.model)
        best = BestWeights(self.model, run.scratch, self._rank)
        rehearse = partial(self._rehearse, trainer, rows)
        # By time: no number of steps suits a tiny model and a large one; one clock counts for a group (decision 0070).
        timer = CheckpointTimer(self.config.save_seconds if self._rank == 0 else None)
        progress = Progress(trainer, run, validate, rehearse, best, self.config, timer, self._all_reduce_max)
        trainer.add_callback(progress)
        state = self._state(trainer, progress)
        trainer.restore_state, trainer.restore_random = state.restore, state.restore_random
        trainer.make_checkpoint = partial(self._make_checkpoint, state, rows)
        trainer.rollouts = self._rollouts(trainer, run)
        try:
            if not self.objective.plain and not self.asks:
                self.objective.check(trainer.data_collator.read_rows(next(steps_of(trainer.order, 1))))
            self._score_reference(trainer, rows)
            outcome = self._train(trainer, progress, resumes=self._resumes(state, rows))
            seconds = progress.seconds
            trainer.use_averaged_weights()
            best.restore(outcome.global_step)
            self._all_reduce_max(0)  # a process of a group may be late, and still looks into the folder
        finally:
            if self._rank == 0:
                shutil.rmtree(run.scratch, ignore_errors=True)
        if is_checkpointing(self.model) and not self.machine.checkpointing:
            self.machine.facts[hardware.CHECKPOINTING] = "on (memory ran out)"
        self._save(trainer, run.checkpoint)
        # transformers divides by the steps of all processes, or of this one: by version.
        loss_sum = state.loss_sum()
        return TrainResult(
            steps=outcome.global_step,
            epochs=float(trainer.state.epoch) / self.plan.cost.iterations,
            train_loss=loss_sum / outcome.global_step,
            last_loss=progress.last_loss,
            seconds=seconds,
            tokens=trainer.tokens,
            supervised_tokens=trainer.supervised_tokens,
            trainable_parameters=trainable,
            total_parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            peak_memory_bytes=hardware.peak_memory(self.machine.device),
            checkpoint=run.checkpoint.name,
            computed_tokens=trainer.computed_tokens,
            oom_fallbacks=self.oom_retry.fallbacks[fallbacks_before:],
            resumed=progress.resumed_at,
        )

    # Not the base at each step: a training may start from something else (decision 0096).
    def _score_reference(self, trainer: SupervisedTrainer, rows: Sequence[TokenGroup]) -> None:
        """Score all rows of the training with the model that it starts from, and compare the first loss with theory.

        A resumed training has the weights of its start until it reads the checkpoint.

        Raises:
            FrameworkError: the model is not what the training starts from.
        """
        objective = self.objective.objective
        if not objective.needs_reference or self.asks or objective.ids(rows[0]) is not None:
            return  # answers that are not drawn yet are scored in their step
        before, order = RandomState.now(), trainer.order
        total = total_steps(self.plan, len(rows), order.batch)
        model, read = to_eval_mode(self.model, self.machine.device), trainer.data_collator.read_rows
        computed, digest = (
            f"{self.machine.device} {self.machine.dtype} {self.cpu_kernels}",
            self.checkpoints.digest(rows),
        )
        scores = open_scores(self.plan, model, self.template, digest, computed, trainer.args.device)
        with counting(total, "step", "scoring the reference") as counter:
            for numbers in steps_of(order, total):
                groups = read(numbers)
                if not all(row in scores for row in self.objective.rows(groups)):
                    trainer.score_start(groups, scores.add)
                counter.advance()
        trainer.step.known = scores
        loss, expected, deviation = trainer.start_values(read(next(steps_of(order, 1))))
        half = self.machine.dtype is not torch.float32
        if problem := start_problem(loss, expected, deviation, scores, half=half):
            raise FrameworkError(f"{self.objective.name} would train against the wrong reference: {problem}")
        if self._rank == 0:
            scores.save()
        start = self.plan.start(weights=False)
        whose = f"adapter.start={start.place}" if start else "the model before the training"
        self.machine.facts["reference"] = (
            f"{whose}, {count(len(scores), 'row')}, {scores.kept} from the cache; the first loss is {loss:.6f}"
        )
        before.restore()

    @property
    def asks(self) -> bool:
        """Whether the rows are prompts, whose answers are drawn in the step."""
        return self.sample is not None

    def _rollouts(self, trainer: SupervisedTrainer, run: TrainRun) -> Rollouts | None:
        """Return the rollouts that make the groups of each step from prompts; None if the rows are learned."""
        if self.sample is None:
            return None
        assert run.reward is not None  # noqa: S101 - of a run with such a method
        plan, order, rows = self.plan, trainer.order, len(run.prompts)
        draw = rewarding.limited(self._in_eval_mode, plan.method.config)
        return Rollouts(
            plan.method.create(), run.prompts, draw, run.reward, plan.rollout.config, plan.seed,
            total_steps(plan, rows, order.batch), drawn_together(plan), plan.cost.iterations,
            [*steps_of(order, ordered_steps(plan, rows, order.batch))], partial(self._scores, trainer), self._division,
        )  # fmt: skip

    @property
    def _division(self) -> Division:
        """How processes divide what is drawn."""
        return Division()

    def _in_eval_mode(self, prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
        """Sample answers, and leave the training as it was."""
        assert self.sample is not None  # noqa: S101 - the caller has looked
        answers = self.sample(prompts, params)
        self.model.train()
        return answers

    def _scores(self, trainer: SupervisedTrainer, groups: Sequence[TokenGroup]) -> Mapping[bytes, torch.Tensor]:
        """Return the log-probabilities of rows as the training computes them, by `row_key`."""
        scores: dict[bytes, torch.Tensor] = {}
        to_eval_mode(self.model, self.machine.device)
        trainer.score_start(groups, lambda row, scored: scores.update({row_key(row): scored}))
        self.model.train()
        return scores

    def _state(self, trainer: SupervisedTrainer, progress: Progress) -> TrainingState:
        return TrainingState(trainer, progress)

    def _newest(self, rows: Sequence[TokenGroup]) -> Path | None:
        """Return the checkpoint to resume from."""
        return self.checkpoints.newest(rows)

    def _resumes(self, state: TrainingState, rows: Sequence[TokenGroup]) -> bool:
        """Choose the checkpoint to resume from; False if there is none."""
        state.checkpoint = self._newest(rows)
        return state.checkpoint is not None

    def _make_checkpoint(self, state: TrainingState, rows: Sequence[TokenGroup]) -> None:
        """Make a checkpoint, and end the training after it where a signal asks for that."""
        progress = state.progress
        with progress.timer.saving():
            write = state.read()
            self.checkpoints.save(state.step, rows, write, state.needed)
        # In a group the first process has written by then: if one ends, all are stopped.
        if progress.ending and (error := self._ending(progress.run.interruption())):
            raise error

    def _all_reduce_max(self, value: int) -> int:
        """Return the largest number that a process of the training has."""
        return value

    def _ending(self, error: BaseException | None) -> BaseException | None:
        """Return what ends the training, of all processes."""
        return error

    @property
    def _batch(self) -> int:
        """Rows of an optimizer step."""
        return self.config.per_device_train_batch_size * self.config.gradient_accumulation_steps

    @property
    def _rank(self) -> int:
        """The number of this process in its group."""
        return 0

    def _trainer(self, rows: Sequence[TokenGroup], run: TrainRun) -> SupervisedTrainer:
        by_length = self.passes.losses.packing is Packing.pad
        order = row_order(self.plan, rows, self._batch, by_length=by_length)
        args = training_arguments(self.machine, self.plan.seed, str(run.scratch), autocast=not self.cpu_kernels)
        return self._trainer_class(
            self.model, args, self.config, self._collator(order), self.passes, order, self._options, self.oom_retry,
            self._optimizer_step, accelerator=self._accelerator(args), checkpointing=self._checkpointing,
        )  # fmt: skip

    @property
    def _trainer_class(self) -> Callable[..., SupervisedTrainer]:
        return self.trainer_class

    def _collator(self, order: Order) -> Collator:
        return Collator(order.rows, self.passes.packer, self.objective, asks=self.asks)

    @property
    def _optimizer_step(self) -> OptimizerStep:
        return OptimizerStep(self.objective, self.passes.losses, self._as_reference)

    def _accelerator(self, _: TrainingArguments) -> Accelerator | None:
        """Return the accelerator of a group."""
        return None

    @property
    def _checkpointing(self) -> bool:
        """Whether the model computes its activations again in the backward pass."""
        return self.machine.checkpointing

    @property
    def _options(self) -> TrainingOptions:
        """The optimizer that runs here, and the schedule."""
        return TrainingOptions(self.plan, self.machine.optimizer)

    @property
    def _as_reference(self) -> Callable[[], AbstractContextManager[None]]:
        """A context manager in which the model is the reference of the objective, without dropout.

        Answers that are drawn in a step are compared with the start of the training; rows that are not scored before
        the first step, since weights are in pieces, with the base, which is that start.
        """
        scores_answers = self.asks and self.objective.objective.needs_reference
        start = at_start(self.plan, self.model) if scores_answers else partial(as_base, self.model, trained=True)

        @contextmanager
        def reference() -> Iterator[None]:
            self.model.eval()
            try:
                with start():
                    yield
            finally:
                self.model.train()

        return reference

    def _save(self, trainer: SupervisedTrainer, folder: Path) -> None:
        # Out of the trainer's autocast again: answers before and after are computed the same way.
        trainer.accelerator.unwrap_model(self.model, keep_fp32_wrapper=False)
        self.model.eval()
        self.save(folder)

    def _train(self, trainer: SupervisedTrainer, progress: Progress, *, resumes: bool) -> TrainerState:
        """Train, from a checkpoint if there is one.

        An update that ran out of memory is never repeated: some weights may have changed already.
        Nor would a fallback help there. The activations are freed by then; the optimizer's states do not fit.
        """
        updates = Guard(
            lambda: f"{self._options.place} fails in step {trainer.state.global_step + 1}",
            passes=lambda _: not progress.updating,
        )
        try:
            with updates:
                return trainer.train(resumes=resumes)
        except (RuntimeError, MemoryError) as error:
            if not progress.updating or not is_out_of_memory(error):
                raise
            clear_frames(error)
            step = trainer.state.global_step + 1
            raise FrameworkError(
                f"out of memory in the update of step {step}: {summarize_error(error)}\n"
                "The optimizer's states do not fit, "
                "and some weights may have been updated already, so the run ends and saves nothing.\n"
                f"Set optimizer=adamw_8bit|paged_adamw_8bit, {self.oom_retry.advice}"
            ) from error

    def _rehearse(self, trainer: SupervisedTrainer, rows: Sequence[TokenGroup], steps: int) -> None:
        """After the first step, try the longest row, of as many as the training sees, if that costs next to nothing."""
        if self.asks:
            return  # prompts: the answers come
        stride = max(1, len(rows) // (steps * self._batch))
        candidates, scores = (rows[index] for index in range(0, len(rows), stride)), trainer.step.known
        if scores is not None:  # of no other row there is a reference
            candidates = (group for group in candidates if all(row in scores for row in group.rows))
        for group in longest_rows(candidates, 1):
            if REHEARSAL_FACTOR * all_tokens([group]) <= trainer.computed_tokens * steps:
                trainer.rehearse(group)


def count_trainable(model: Any) -> int:
    """Count what will be trained, and make sure that with an adapter it is the adapter and what came along with it."""
    named = [(name, weight) for name, weight in model.named_parameters() if weight.requires_grad]
    if isinstance(model, PeftModel):
        # Of peft's tuner, "lora_" and the like, and of what is beside it.
        adapter_names = (model.base_model.prefix, "modules_to_save.", "trainable_tokens_")
        biases = getattr(model.peft_config["default"], "bias", "none") != "none"
        base_weights = [(name, weight) for name, weight in named if not any(part in name for part in adapter_names)]
        stray = [name for name, _ in base_weights if not (biases and name.endswith(".bias"))]
        if stray:
            raise RuntimeError(f"weights of the base would be trained beside the adapter: {', '.join(stray[:3])}")
        bias_names = {name for name, _ in base_weights}  # a layer computes in the format of its bias
        for name, weight in named:  # peft makes adapters in fp32, other libraries may not
            weight.data = weight.data if name in bias_names else weight.data.float()
    return sum(weight.numel() for _, weight in named)


def validate(
    model: Any,
    open_losses: Callable[[], Evaluation],
    rows: Sequence[TokenRow],
    set_losses: Mapping[str, str],
    run: TrainRun,
    measure: Callable[[], Mapping[str, float]],
) -> Validation:
    """Measure, and leave the training as it was: its mode, and the random numbers that dropout draws.

    Args:
        model: what is trained.
        open_losses: returns how its losses are computed, which puts it into evaluation mode.
        rows: of the validation; without any only the run measures.
        set_losses: the validation sets by the names of their losses.
        run: the training.
        measure: returns what the method measures besides.
    """
    before = RandomState.now()
    loss, losses = validation_losses(open_losses(), rows, set_losses) if rows else (None, {})
    result = loss, {**losses, **measure(), **run.measure()}
    before.restore()
    model.train()
    return result
