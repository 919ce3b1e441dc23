"""A training from its first step to its saved weights, and its result."""

from __future__ import annotations

import dataclasses
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
from torch import distributed
from transformers import TrainerState, TrainingArguments

from framework import FrameworkError, Plan
from framework.api import (
    Guard,
    Prompt,
    Step,
    TrainResult,
    count,
    counting,
    is_out_of_memory,
    rewarding,
    summarize_error,
)
from framework.api.training import (
    Generator,
    ProcessGroup,
    Sampled,
    SamplingParams,
    StepControl,
    TokenGroup,
    TokenRow,
    TrainRun,
)
from framework_plugins.hf.load.adapt_model import as_base
from framework_plugins.hf.load.sharded_weights import (
    allocate_trained,
    full_tensor,
    trained_weights,
    unwrap_checkpointing,
)
from framework_plugins.hf.loss.passes import Passes, enable_checkpointing, is_checkpointing
from framework_plugins.hf.machine import hardware
from framework_plugins.hf.machine.out_of_memory import Batches, OomRetry, RandomState, clear_frames
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.machine.world import ALONE, World
from framework_plugins.hf.packing.parts import all_tokens
from framework_plugins.hf.score.scoring import Evaluation, longest_rows, validation_losses
from framework_plugins.hf.settings.config import HFTrainerConfig, Packing, Switch
from framework_plugins.hf.train.best_weights import BestWeights
from framework_plugins.hf.train.compiled import FACT, CompiledLayers, refusal
from framework_plugins.hf.train.distributed import engine
from framework_plugins.hf.train.options import TrainingOptions
from framework_plugins.hf.train.order import drawn_together, ordered_steps, row_order, steps_of, total_steps
from framework_plugins.hf.train.progress import CheckpointTimer, Progress
from framework_plugins.hf.train.reference import at_start, open_scores, row_key, start_problem
from framework_plugins.hf.train.resume.checkpoints import Checkpoints
from framework_plugins.hf.train.resume.training_state import TrainingState
from framework_plugins.hf.train.rollouts import Rollouts
from framework_plugins.hf.train.step import CheckedObjective, OptimizerStep
from framework_plugins.hf.train.step_reporter import Validation
from framework_plugins.hf.train.step_runner import Collator, StepRunner
from framework_plugins.hf.train.trainer import SupervisedTrainer
from framework_plugins.lib.group_member import Member

COMPARED = 32
"""Rows at the beginning, of which two give compiled layers something to compare."""
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
        fused_layers: whether layers are replaced by those of that room.
        checkpoints: of the run, from which it may resume.
        objective: what is learned.
        trainer_class: trains.
        template: a hash of tokenizer, template and masks.
        sample: draws answers, for a method that samples them while it trains; else None.
        draws: the batches in which it does.
        save: writes the weights into a folder; of a group, it is given the weights in one piece.
        me: this process, if it is one of a group.
    """

    model: Any
    passes: Passes
    oom_retry: OomRetry
    machine: hardware.Hardware
    config: HFTrainerConfig
    plan: Plan
    tokenizer: Any
    fused_layers: bool
    checkpoints: Checkpoints
    objective: CheckedObjective
    trainer_class: type[SupervisedTrainer]
    template: str
    sample: Generator | None
    draws: Batches
    save: Callable[..., None]
    me: Member | None = None

    @property
    def autocast(self) -> bool:
        """Whether accelerate lowers products to 16 bits: on a CPU fused layers do it themselves."""
        return not (self.fused_layers and self.machine.device == "cpu")

    @property
    def world(self) -> World:
        """The processes that train together."""
        return World(self.me.rank, self.me.world) if self.me else ALONE

    @property
    def group(self) -> ProcessGroup | None:
        """What a launcher asked for; None: one process."""
        return self.plan.launch.config.group() if self.me else None

    def run_in_group(
        self, rows: Sequence[TokenGroup], run: TrainRun, validate: Callable[[], Validation]
    ) -> TrainResult:
        """Train as a process of a group: the first one tells the run of each step, and all do what it says."""
        assert self.me is not None  # noqa: S101 - the caller is one of a group
        assert self.group is not None  # noqa: S101 - as above
        engine.join(self.group, self.machine, self.me)
        allocate_trained(self.model)
        self.passes.losses.prepare_for_engine()

        def on_step(step: Step) -> StepControl | None:
            return self.world.from_first(lambda: run.on_step(step))

        result = self.run(rows, dataclasses.replace(run, on_step=on_step), validate)
        result = dataclasses.replace(
            result,
            computed_tokens=int(self.world.all_sum(result.computed_tokens)),
            peak_memory_bytes=self.world.all_max(result.peak_memory_bytes),
        )
        distributed.barrier()
        return result

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
        best = BestWeights(self.model, run.scratch, self.world.rank)
        rehearse = partial(self._rehearse, trainer, rows)
        # By time: no number of steps suits a tiny model and a large one; one clock counts for a group.
        timer = CheckpointTimer(self.config.save_seconds if self.world.is_first else None)
        progress = Progress(trainer, run, validate, rehearse, best, self.config, timer, self.world.all_max)
        trainer.add_callback(progress)
        state = TrainingState(trainer, progress)
        trainer.restore_state, trainer.restore_random = state.restore, state.restore_random
        trainer.make_checkpoint = partial(self._make_checkpoint, state, rows)
        trainer.rollouts = self._rollouts(trainer, run)
        try:
            if self.objective.reads_reference_logits and (problem := self._no_reference_logits()):
                raise FrameworkError(f"{self.objective.name} reads the logits of the reference: {problem}")
            if not self.objective.plain and not self.asks:
                self.objective.check(trainer.runner.collator.read_rows(next(steps_of(trainer.order, 1))))
            if self.me is None:
                self._score_reference(trainer, rows)
                trainer.on_prepared = partial(self._compile, trainer, rows)
            elif not self.plan.launch.config.group().sharded:  # in pieces, each step asks the base
                trainer.on_prepared = partial(self._score_reference, trainer, rows)
            outcome = self._train(trainer, progress, resumes=self._resumes(state, rows))
            seconds = progress.seconds
            trainer.optimizer.eval()  # the weights to answer with, which a schedule-free one averages
            best.restore(outcome.global_step)
            self.world.all_max(0)  # a process of a group may be late, and still looks into the folder
        finally:
            if self.world.is_first:
                shutil.rmtree(run.scratch, ignore_errors=True)
        if trainer.runner.compiled:
            self.machine.facts[FACT] = trainer.runner.compiled.fact
        if is_checkpointing(self.model) and not self.machine.checkpointing:
            self.machine.facts[hardware.CHECKPOINTING] = "on (memory ran out)"
        self._save(trainer, run.checkpoint)
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

    # Not the base at each step, with the adapter off: a training may start from an adapter, or train all weights.
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
        model, runner = to_eval_mode(self.model, self.machine.device), trainer.runner
        computed, digest = (
            f"{self.machine.device} {self.machine.dtype} {self.fused_layers}",
            self.checkpoints.digest(rows),
        )
        scores = open_scores(self.plan, model, self.template, digest, computed, trainer.args.device)
        with counting(total, "step", "scoring the reference") as counter:
            for numbers in steps_of(order, total):
                groups = runner.collator.read_rows(numbers)
                if not all(row in scores for row in self.objective.rows(groups)):
                    runner.score_rows(groups, scores.add)
                counter.advance()
        runner.step.known = scores
        first = runner.collator.read_rows(next(steps_of(order, 1)))
        loss, expected, deviation = runner.step.at_start(*runner.collator.pack(first), runner.score)
        half = self.machine.dtype is not torch.float32
        if problem := start_problem(loss, expected, deviation, scores, half=half):
            raise FrameworkError(f"{self.objective.name} would train against the wrong reference: {problem}")
        if self.world.is_first:
            scores.save()
        start = self.plan.start(weights=False)
        whose = f"adapter.start={start.place}" if start else "the model before the training"
        self.machine.facts["reference"] = (
            f"{whose}, {count(len(scores), 'row')}, {scores.kept} from the cache; the first loss is {loss:.6f}"
        )
        before.restore()

    def _compile(self, trainer: SupervisedTrainer, rows: Sequence[TokenGroup]) -> None:
        """Let passes take compiled layers, if they may and give the same; say how many, or why not.

        Raises:
            FrameworkError: they do not, and `trainer.torch_compile=enabled` asks for them.
        """
        switch, device = self.config.torch_compile, self.machine.device
        losses, steps = self.passes.losses, trainer.state.max_steps
        along_blocks = device == "cpu" and losses.packing is Packing.tree and not losses.dense_mask
        reason = "" if self.config.transformers_attention else "the layers have kernels of their own"
        reason = reason or refusal(switch, device, steps, draws=self.asks, along_blocks=along_blocks)
        if not reason:
            compiled, some = CompiledLayers(self.model), [rows[index] for index in range(min(COMPARED, len(rows)))]
            groups = sorted(some, key=lambda group: all_tokens([group]))
            passes = [partial(trainer.runner.rehearse, group) for group in (groups[0], groups[len(groups) // 2])]
            reason = compiled.problem(passes, trainer.runner.pass_context)
            trainer.runner.compiled = None if reason else compiled
        if reason and switch is Switch.enabled:
            raise FrameworkError(f"trainer.torch_compile=enabled: {reason}. Leave it at auto")
        if reason and device == "cuda":
            self.machine.facts[FACT] = f"none: {reason}"
        if trainer.runner.compiled:
            self.machine.facts[FACT] = trainer.runner.compiled.fact

    def _no_reference_logits(self) -> str:
        """Say why the logits of the model that the training starts from cannot be computed; empty if they can."""
        if self.plan.launch.config.group():
            return "processes of a group do not compute them: set launch=single"
        if self.plan.adapter.config.trains_all:
            return "adapter=full changes the weights that they come from: set adapter=lora"
        return ""

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
            [*steps_of(order, ordered_steps(plan, rows, order.batch))], partial(self._scores, trainer), self.world,
            self.draws,
        )  # fmt: skip

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
        trainer.runner.score_rows(groups, lambda row, scored: scores.update({row_key(row): scored}))
        self.model.train()
        return scores

    def _resumes(self, state: TrainingState, rows: Sequence[TokenGroup]) -> bool:
        """Choose the checkpoint to resume from; False if there is none."""
        state.checkpoint = self.world.from_first(lambda: self.checkpoints.newest(rows))
        return state.checkpoint is not None

    def _make_checkpoint(self, state: TrainingState, rows: Sequence[TokenGroup]) -> None:
        """Make a checkpoint, and end the training after it where a signal asks for that."""
        progress = state.progress
        with progress.timer.saving():
            write = state.read()
            self.checkpoints.save(state.step, rows, write, state.needed)
        # In a group the first process has written by then: if one ends, all are stopped. A signal reaches one machine
        # before another.
        if progress.ending:
            for error in filter(None, self.world.all_gather(progress.run.interruption())):
                raise error

    @property
    def _batch(self) -> int:
        """Rows of an optimizer step, of all processes together."""
        return self.config.per_device_train_batch_size * self.config.gradient_accumulation_steps * self.world.size

    def _trainer(self, rows: Sequence[TokenGroup], run: TrainRun) -> SupervisedTrainer:
        by_length = self.passes.losses.packing is Packing.pad
        order, group = row_order(self.plan, rows, self._batch, by_length=by_length), self.group
        bf16, fp16 = (self.autocast and self.machine.dtype is dtype for dtype in (torch.bfloat16, torch.float16))
        # transformers' arguments set up this process, and callbacks read them.
        args = TrainingArguments(
            output_dir=str(run.scratch), seed=self.plan.seed, use_cpu=self.machine.device == "cpu", bf16=bf16,
            fp16=fp16, report_to=[], disable_tqdm=True,
        )  # fmt: skip
        precision = "bf16" if bf16 else "fp16" if fp16 else "no"
        if self.me and group:
            accelerator = engine.start_accelerator(group, self.me, self.machine, precision)
        else:
            accelerator = Accelerator(mixed_precision=precision)
        if self.machine.checkpointing and not (group and group.sharded):  # of shards the engine does it
            enable_checkpointing(self.model)
        collator = Collator(order.rows, self.passes.packer, self.objective, asks=self.asks, world=self.world)
        step = OptimizerStep(self.objective, self.passes.losses, self._as_reference, self.world)
        runner = StepRunner(self.model, accelerator, collator, self.passes, step, self.oom_retry, group)
        return self.trainer_class(self.model, args, self.config, runner, order, self._options)

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
        from_start = scores_answers or self.objective.reads_reference_logits
        start = at_start(self.plan, self.model) if from_start else partial(as_base, self.model, trained=True)

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
        if self.me is not None:  # the first process puts the pieces together, and writes them
            state = {name: full_tensor(weight) for name, weight in trained_weights(self.model)}
            if self.world.is_first:
                unwrap_checkpointing(self.model)
                self.save(folder, state)
            return
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
        if self.asks or self.me is not None:
            return  # prompts: the answers come; what one process of a group runs out of, the others would wait for
        stride = max(1, len(rows) // (steps * self._batch))
        candidates, scores = (rows[index] for index in range(0, len(rows), stride)), trainer.runner.step.known
        if scores is not None:  # of no other row there is a reference
            candidates = (group for group in candidates if all(row in scores for row in group.rows))
        for group in longest_rows(candidates, 1):
            if REHEARSAL_FACTOR * all_tokens([group]) <= trainer.computed_tokens * steps:
                trainer.runner.rehearse(group)


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
    prompted: Callable[[], Mapping[str, float]],
    measure: Callable[[], Mapping[str, float]],
    world: World = ALONE,
) -> Validation:
    """Measure, and leave the training as it was: its mode, and the random numbers that dropout draws.

    Args:
        model: what is trained.
        open_losses: returns how its losses are computed, which puts it into evaluation mode.
        rows: of the validation; without any only the run measures.
        set_losses: the validation sets by the names of their losses.
        prompted: returns what the run measures.
        measure: returns what the method measures; of the same rows in each process, since what it makes of scores
            cannot be put together from shares.
        world: the processes that share the rows.
    """
    before = RandomState.now()
    loss, losses = validation_losses(open_losses(), rows, set_losses, world) if rows else (None, {})
    result = loss, {**losses, **measure(), **prompted()}
    before.restore()
    model.train()
    return result
