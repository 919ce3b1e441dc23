"""What a run takes, before anything is loaded: memory, what would make it fit, work, disk and advice.

It needs the model's config.json and what an earlier data stage found of the rows; without that, the longest row that
`trainer.max_seq_length` admits. After the data stage it is made again with the rows that are there.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from framework.api.plan import Plan
from framework.api.protocols import ModelSource
from framework.api.records import DataResult, Disk, ExportNeed, Forecast, Memory, Speed, TokenRow, TrainResult, Work
from framework.api.schema import UNPLANNED_ANSWERS, Affects, DataConfig, PassCost, Stage, TrainerConfig
from framework.api.text import count
from framework.hooks.session import Session
from framework.memory import MemorySettings, Shape
from framework.memory.terms import trained_bytes, trained_parameters
from framework.plan import fit, speed
from framework.plan.fit import PlanContext
from framework.plan.speed import flops
from framework.plan.traffic import traffic
from framework.rundir import known
from framework.rundir.known import SAMPLED_ROWS, KnownRows
from framework.util import gpus
from framework.util.errors import DoesNotFitError, FrameworkError
from framework.util.host import GIB

ENOUGH_STEPS, ENOUGH_WORK = 5, 1e12
"""Steps and operations below which a training tells the speed of its start, not of itself."""
MARGIN = 1.25
"""How far a run may be from the slowest and the fastest that are known: other lengths and packings differ so much."""
MANY_ROWS, FEW_ROWS = 10_000, 200
"""Rows of which one pass teaches enough, and rows that have to be seen a few times."""
TWO_EPOCHS = 2
"""Epochs of which more are many for many rows, and fewer few for few."""
DRAWN_RATES = 40
"""Steps whose learning rate is drawn."""
WARM_UP = 0.2
"""Share of the steps above which a warm-up replaces training."""


class Planner:
    """Plans one run: first with what is known, then with the rows.

    Args:
        plan: the run.
        source: its model.
        session: its plugins are asked, and what trials share counts as available.

    Attributes:
        plan: the run, changed by `first` if `plan.apply` has it changed.
        rows: what is known about its rows.
    """

    def __init__(self, plan: Plan, source: ModelSource, session: Session) -> None:
        self.plan = plan
        self.rows: KnownRows | None = None
        self._estimated: KnownRows | None = None
        self.session = session
        self._source = source
        self._applied: list[str] = []

    @functools.cached_property
    def shape(self) -> Shape:
        """What the model is made of.

        Raises:
            FrameworkError: config.json does not tell.
        """
        config = self._source.config_json()
        if not config:
            raise FrameworkError("the model has no config.json")
        source = self._source
        return Shape.from_config(config, source.parameters())

    def first(self, estimated: KnownRows | None = None, answers_at_once: int | None = None) -> Forecast:
        """Return what the run takes, by what is known before its data are read, and apply what makes it fit.

        Here `trainer.answers_at_once=auto` becomes a number, which stays: another one would draw other answers.

        Args:
            estimated: about what the rows will be, by the first ones, for the time that the training takes.
            answers_at_once: the number that an earlier start of the run had.

        Raises:
            FrameworkError: `plan.gpu` is not a GPU.
        """
        self._estimated = estimated
        self.rows = known.known_rows(self.rows_file)
        context = self._context()
        if not isinstance(context, str) and self._applies:
            context, self._applied = fit.apply(context)
            self.plan = context.plan
        if self.plan.training.planned_answers() is None:
            planned = 0 if isinstance(context, str) else context.settings.answers_at_once
            number = answers_at_once or planned or UNPLANNED_ANSWERS
            # The overrides stay: on another machine they may mean another number.
            changed, words = fit.changed(self.plan, {"trainer.answers_at_once": number}), self.plan.overrides
            self.plan = dataclasses.replace(changed, overrides=words)
        return self.forecast()

    @property
    def _applies(self) -> bool:
        """Whether the run is changed so that it fits."""
        return self.plan.settings.plan.apply and Stage.train in self.plan.intended_stages

    def update(self, data: DataResult, rows: Sequence[TokenRow]) -> Forecast:
        """Return what it takes with the rows that the data stage found; the plan stays as it is."""
        self.rows = known.update_known_rows(self.rows_file, data, rows)
        return self.forecast()

    def forecast(self) -> Forecast:
        """Return what the run takes, by what is known about its rows."""
        context = self._context()
        if isinstance(context, str):
            return Forecast(None, context, [], self._applied, None, None, self.advice(None))
        rows, settings = self.rows, context.settings
        estimate = context.estimate()
        memory = Memory(
            device=context.device,
            available=context.available,
            fit_status=context.fit_status(estimate),
            tokens=settings.tokens,
            rows_known=rows is not None,
            parts=estimate.parts,
            phases=estimate.phases,
            allocated=estimate.allocated,
            reserved=estimate.reserved,
            low=estimate.low,
            high=estimate.high,
            # Which rows come is not known yet, so only what any row needs is certain.
            least=context.least() if rows else sum(estimate.parts.values()),
            attention=settings.attention_choice,
            evaluated_on=settings.evaluated_on if settings.sharded else 1,
            longest=context.longest,
            answers_at_once=settings.answer_rows,
        )
        changes, smaller = fit.remedies(context, estimate)
        doing, advised = work(context, rows) if rows else None, rows is not None
        pace: Speed | None = None
        if rows is None and Stage.train in self.plan.intended_stages:
            pace = training_speed(context, self._estimated)
            if self._estimated:
                # What evaluators ask, and whether advice is right, depends on the rows themselves.
                about = work(context, self._estimated)
                doing = dataclasses.replace(about, estimated=True, evaluation_seconds=None)
        exports = self._exports(context.shape)
        export_memory = max((need.memory for need in exports.values()), default=0)
        disk = self._disk(trained_parameters(context.shape, settings) * trained_bytes(settings), exports, settings)
        moved = traffic(context.shape, settings) if Stage.train in self.plan.intended_stages else None
        advice = self.advice(doing if advised else None)
        later = bool(changes) and self._applies
        return Forecast(
            memory, "", changes, self._applied, doing, disk, advice, smaller, export_memory, moved, pace, later
        )

    def check_fits(self, forecast: Forecast) -> None:
        """Refuse a training for which there is not enough memory, whatever luck it has.

        Until the rows are known, that is one whose weights and optimizer alone do not fit.

        Raises:
            DoesNotFitError: says how much is needed, and what would make it fit.
        """
        memory = forecast.memory
        # A plan for another GPU says nothing about the memory of this machine.
        elsewhere = self.plan.settings.plan.gpu or Stage.train not in self.plan.stages
        if memory is None or elsewhere or memory.least <= memory.available:
            return
        least = f"at least {memory.least / GIB:.1f} GiB"
        needed = f"does not fit: {least} are needed, and {memory.device} has {memory.available / GIB:.1f}"
        raise DoesNotFitError(f"{needed}\n{fit.remedy(forecast)}")

    def learn(self, trained: TrainResult) -> None:
        """Remember how fast this training was, and which share of the tokens went through the model."""
        rows = self.rows
        if rows is None or self.plan.settings.plan.gpu or trained.taken_from:  # that was learned when it was made
            return
        context = self._context()
        if isinstance(context, str) or trained.steps < ENOUGH_STEPS or min(trained.seconds, trained.tokens) <= 0:
            return
        computed = trained.computed_tokens or trained.tokens
        length = rows.tokens / rows.rows / self.plan.cost.rows
        operations = flops(context.shape, context.settings, computed, trained.supervised_tokens, length)
        operations *= _passes(self.plan.cost)
        if operations >= ENOUGH_WORK:
            known.remember_speed(speed_key(context), operations / trained.seconds)
        if not self.plan.cost.rollout_tokens:  # of prompts, the tokens that were trained say nothing
            known.remember_rows(self.rows_file, dataclasses.replace(rows, computed=computed / trained.tokens))

    @property
    def rows_file(self) -> Path | None:
        """Where what is known about the rows is kept for the next plan; None for too many files."""
        plan = self.plan
        settings = plan.affecting(Affects.data), plan.training.max_seq_length
        return known.rows_file(plan.model, plan.data, *settings)

    def _context(self) -> PlanContext | str:
        """Return the plan with its known facts, or why they do not suffice."""
        planned_for = self.plan.settings.plan.gpu
        named = gpus.named(planned_for) if planned_for else None  # the user has to fix a mistake in it
        try:
            return PlanContext(self.plan, self.shape, named or gpus.here(), self.rows, self.session)
        # A model whose memory cannot be worked out is a run without a forecast, not a run that is refused.
        except FrameworkError as error:
            return str(error)

    def advice(self, work: Work | None) -> list[str]:
        """Return the advice of the core and of every plugin, one sentence each."""
        plan, trains = self.plan, Stage.train in self.plan.intended_stages
        rules = rules_of_thumb(plan.data.config, plan.training, plan.warmup, work) if trains else ()
        notice = gpus.size_notice(plan.config["plan"]["gpu"] or "")
        return [
            *rules,
            *([notice] if notice else []),
            *(text for _, text in self.session.plugins.ask("framework_advice", str, plan=self.plan, work=work)),
        ]

    def _exports(self, shape: Shape) -> dict[str, ExportNeed]:
        """Return the plugins' needs of the exporters, by their names in the plan."""
        if Stage.export not in self.plan.intended_stages:
            return {}
        needs = self.session.plugins.ask("framework_export_needs", ExportNeed, plan=self.plan, shape=shape)
        return {need.name: need for _, need in needs}

    def _disk(self, trained: int, exports: Mapping[str, ExportNeed], settings: MemorySettings) -> Disk | None:
        """Return what the run writes: the trained weights, what exporters tell, and for each other one as much again.

        Of a model that is trained whole, the weights of the best validation lie there meanwhile.
        """
        stages, training = self.plan.intended_stages, self.plan.training
        if not {Stage.train, Stage.export} & set(stages):
            return None
        parts = {}
        if Stage.train in stages:
            parts["checkpoint"] = trained
            if settings.full and training.keep_best and (training.eval_steps or training.num_train_epochs > 1):
                parts["best weights"] = trained
        if Stage.export in stages:
            parts |= {name: exports[name].disk if name in exports else trained for name in self.plan.exporter}
            if scratch := max((need.scratch for need in exports.values()), default=0):
                parts["while exporting"] = scratch
        # The run folder is not made yet, and the disk is that of the folder above it.
        folder = next(path for path in (self.plan.run_dir, *self.plan.run_dir.parents) if path.exists())
        return Disk(sum(parts.values()), shutil.disk_usage(Path(folder)).free, parts)


def work(context: PlanContext, rows: KnownRows) -> Work:
    """Return what a training has to do: steps, operations, and the time by what this machine did before."""
    training, settings = context.plan.training, context.settings
    an_epoch = math.ceil(rows.rows / context.plan.batch)
    cost = context.plan.cost
    steps = training.max_steps or math.ceil(training.num_train_epochs * cost.iterations * an_epoch)
    epochs = steps / an_epoch
    rollout_tokens = rows.rows * cost.rollout_tokens  # at most: an answer may end sooner
    computed = rows.tokens * rows.computed + rollout_tokens
    length = rows.tokens / rows.rows / (1 if rollout_tokens else cost.rows) + cost.rollout_tokens / cost.rows
    operations = epochs * flops(context.shape, settings, computed, rows.supervised_tokens + rollout_tokens, length)
    operations *= _passes(cost)
    past = known.speeds(speed_key(context))
    seconds: tuple[float, float] | None = None
    drawing = 0.0
    if past:
        seconds = operations / (max(past) * MARGIN), operations / (min(past) / MARGIN)
    elif step := _least_step_seconds(context, rows, computed / an_epoch, length):
        base_seconds = steps * step * _passes(dataclasses.replace(cost, rollout_tokens=0))
        seconds = base_seconds * speed.FASTEST, base_seconds * speed.SLOWEST
        drawing = math.ceil(steps / cost.iterations) * _drawing_seconds(context)
    evaluating = _evaluation_seconds(context, rows)
    return Work(
        rows=rows.rows,
        tokens=rows.tokens,
        supervised_tokens=rows.supervised_tokens,
        steps=steps,
        epochs=round(epochs / cost.iterations, 2),
        flops=operations,
        seconds_low=seconds and seconds[0],
        seconds_high=seconds and seconds[1],
        from_published=seconds is not None and not past,
        evaluation_seconds=drawing + (evaluating or 0.0) if drawing else evaluating,
        price_per_hour=context.plan.settings.plan.price_per_hour,
        rates=rates(context.plan.rate_factor(steps), training.learning_rate, steps),
    )


def training_speed(context: PlanContext, estimated: KnownRows | None) -> Speed | None:
    """Return how many tokens a training takes in a second; None if no speed is known, or it draws answers.

    Args:
        context: the plan without its rows.
        estimated: about what they will be; None: all are as long as the longest that may come.
    """
    longest = context.longest
    rows = estimated or KnownRows(SAMPLED_ROWS, SAMPLED_ROWS * longest, SAMPLED_ROWS * longest, longest, longest)
    doing = work(context, rows)
    if doing.seconds_low is None or doing.seconds_high is None or context.plan.cost.rollout_tokens:
        return None
    tokens = rows.tokens * doing.epochs
    low, high = tokens / doing.seconds_high, tokens / doing.seconds_low
    return Speed(low, high, round(rows.tokens / rows.rows), estimated is not None, doing.from_published)


def _least_step_seconds(context: PlanContext, rows: KnownRows, tokens: float, length: float) -> float | None:
    """Return what a step takes at the least; None if nothing is published that would say it."""
    plan, settings = context.plan, context.settings
    card = gpus.card(context.device) if context.used else None
    rollout_tokens, several = plan.cost.rollout_tokens, plan.cost.rows > 1
    # Nothing is published of products in fp32, of groups, or of a draw before the training.
    if card is None or settings.wide or settings.processes > 1 or (rollout_tokens and not several):
        return None
    share = plan.batch / rows.rows  # of an epoch
    return speed.step_seconds(
        context.shape, settings, card, rows=plan.batch * plan.cost.rows, tokens=tokens,
        learned=rows.supervised_tokens * share + plan.batch * rollout_tokens, length=length,
    )  # fmt: skip


def _drawing_seconds(context: PlanContext) -> float:
    """Return how long the answers of a step take at most that a method draws; 0 if nothing says it."""
    plan, settings = context.plan, context.settings
    card = gpus.card(context.device) if context.used else None
    if card is None or not plan.cost.rollout_tokens or not settings.answer_rows:
        return 0.0
    params = plan.method.config.sampling(plan.seed)
    tokens: int = math.ceil(plan.batch * params.n / settings.answer_rows) * params.max_new_tokens
    return tokens * speed.token_seconds(context.shape, settings, card) * speed.ANSWER_SLOWEST


def _evaluation_seconds(context: PlanContext, rows: KnownRows) -> float | None:
    """Return how long the answers before and after the training take at most; None if that is not known."""
    plan, settings = context.plan, context.settings
    card = gpus.card(context.device) if context.used else None
    times = len({Stage.baseline, Stage.evaluate} & {*plan.intended_stages})
    tokens: int = sum(
        math.ceil(choice.config.asks(rows.prompts) / (settings.answers_at_once or UNPLANNED_ANSWERS)) * longest
        for choice in plan.evaluator.values()
        if (longest := choice.config.answer_tokens())
    )
    if card is None or not times * tokens:
        return None
    return times * tokens * speed.token_seconds(context.shape, settings, card) * speed.ANSWER_SLOWEST


def rates(factor: Callable[[int], float], peak: float, steps: int) -> list[float]:
    """Return the learning rates of at most `DRAWN_RATES` steps of a training, from the first to the last."""
    points = min(steps, DRAWN_RATES)
    shown_steps = [round(point * (steps - 1) / max(1, points - 1)) for point in range(points)]
    return [peak * factor(step) for step in shown_steps]


def _passes(cost: PassCost) -> float:
    """Return how much more is computed than by one forward and backward pass, which takes twice the forward pass."""
    return 1 + (cost.more_forwards + (cost.rollout_tokens > 0)) / 3 / cost.iterations


def speed_key(context: PlanContext) -> str:
    """Return what a speed is kept under: trainings of one kind reach about the same on a device."""
    settings = context.settings
    kind = f"{context.device}, {settings.weights.value}, {'all weights' if settings.full else 'adapter'}"
    if context.plan.cost.rollout_tokens:
        kind += ", draws answers"  # token by token, which is slower
    if settings.processes > 1:
        kind += f", {settings.pieces} pieces" if settings.sharded else f", {settings.processes} copies"
        kind += f" in {settings.replicas} replicas" if settings.sharded and settings.replicas > 1 else ""
    return kind


def rules_of_thumb(
    data: DataConfig, training: TrainerConfig, warmup_steps: Callable[[int], int], work: Work | None
) -> Iterator[str]:
    """Give the advice of the core: rules of thumb of the field, each with its reason. It refuses nothing."""
    if not data.validation_split and not data.brings_validation():
        yield "data.validation_split=0 holds out no rows: overfitting will go unnoticed. Set data.validation_split=0.1"
    if work is None:
        return
    if work.rows >= MANY_ROWS and work.epochs > TWO_EPOCHS:
        yield (
            f"{count(work.epochs, 'epoch')} over {work.rows:,} rows: with that many rows one or two are enough, and "
            "more memorize them. Set trainer.num_train_epochs=1"
        )
    if work.rows < FEW_ROWS and work.epochs < TWO_EPOCHS and training.max_steps is None:
        yield (
            f"{count(work.epochs, 'epoch')} over {work.rows:,} rows are {work.steps} steps: so few rows have to be "
            "seen more than once. Set trainer.num_train_epochs=3"
        )
    warmup = warmup_steps(work.steps)
    if warmup > WARM_UP * work.steps:
        suggestion = max(1, round(0.05 * work.steps))
        below = "the training ends before it reaches the learning rate that you set"
        if warmup < work.steps:
            below = "much of the training would run below the learning rate that you set"
        if training.warmup_ratio is not None:
            yield f"trainer.warmup_ratio={training.warmup_ratio:g}: {below}. Set trainer.warmup_ratio=0.05"
            return
        yield f"trainer.warmup_steps={warmup} of {work.steps} steps: {below}. Set trainer.warmup_steps={suggestion}"
