"""The plan stage: memory, what would make it fit, work, disk and advice, before anything is loaded.

It needs the model's config.json and what an earlier data stage found of the rows; without that, the longest row that
`trainer.max_seq_length` admits. After the data stage it is made again with the rows that are there.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Mapping
from pathlib import Path

from framework.api.plan import Plan
from framework.api.protocols import ModelSource
from framework.api.records import Disk, ExportNeed, Forecast, Memory, TrainResult
from framework.api.schema import Stage
from framework.hooks.manager import Plugins
from framework.hooks.session import Session
from framework.memory import MemorySettings, Shape
from framework.memory.terms import trained_bytes, trained_parameters
from framework.plan import fit, history
from framework.plan.advice import advice
from framework.plan.compute import flops, speed_key, work
from framework.plan.context import PlanContext
from framework.plan.history import KnownRows
from framework.util import gpus
from framework.util.errors import FrameworkError

ENOUGH_STEPS, ENOUGH_WORK = 5, 1e12
"""Steps and operations below which a training tells the speed of its start, not of itself."""


class Planner:
    """Plans one run: first with what is known, then with the rows.

    Args:
        source: the model of the run.
        session: its plugins are asked, and what trials share counts as available.
    """

    def __init__(self, source: ModelSource, session: Session) -> None:
        self.source = source
        self.session = session
        self.applied: list[str] = []

    @functools.cached_property
    def shape(self) -> Shape:
        """What the model is made of.

        Raises:
            FrameworkError: config.json does not tell.
        """
        config = self.source.config_json()
        if not config:
            raise FrameworkError("the model has no config.json")
        return Shape.from_config(config)

    def first(self, plan: Plan) -> tuple[Plan, Forecast]:
        """Return what a run takes before its data are read, and the plan, changed where `plan.apply` has it changed.

        Raises:
            FrameworkError: `plan.gpu` is no GPU.
        """
        context = self._context(plan, history.known_rows(plan))
        settings = context if isinstance(context, str) else context.settings
        # `stages=[plan]` alone asks what the whole run would take.
        trains = Stage.train in plan.stages or plan.stages == (Stage.plan,)
        if isinstance(context, str) or not isinstance(settings, MemorySettings) or not trains:
            return plan, self._forecast(plan, context)
        if plan.planning.apply:
            context, self.applied = fit.apply(context)
        return context.plan, self._forecast(context.plan, context)

    def update(self, plan: Plan, known: KnownRows) -> Forecast:
        """Return what it takes with the rows that the data stage found; the plan stays as it is."""
        return self._forecast(plan, self._context(plan, known))

    def learn(self, plan: Plan, rows: KnownRows, trained: TrainResult) -> None:
        """Remember how fast this training was, and which share of the tokens went through the model."""
        context = self._context(plan, rows)
        settings = None if isinstance(context, str) or plan.planning.gpu else context.settings
        own = not trained.taken_from  # else it was learned when it was made
        enough = own and trained.steps >= ENOUGH_STEPS and trained.seconds > 0 and trained.tokens > 0
        if isinstance(context, str) or settings is None or not enough:
            return
        computed = trained.computed_tokens or trained.tokens
        done = flops(context.shape, settings, computed, trained.supervised_tokens, rows.tokens / rows.rows)
        if done >= ENOUGH_WORK:
            history.remember_speed(speed_key(context.device, settings), done / trained.seconds)
        history.remember_rows(plan, dataclasses.replace(rows, computed=computed / trained.tokens))

    def _context(self, plan: Plan, known: KnownRows | None) -> PlanContext | str:
        """Return the plan with its known facts, or why they do not suffice."""
        named = gpus.named(plan.planning.gpu) if plan.planning.gpu else None  # the user has to fix a mistake in it
        try:
            context = PlanContext(plan, self.shape, named or gpus.here(), known, self.session)
            settings = context.settings
        # A model whose memory cannot be worked out is a run without a forecast, not a run that is refused.
        except FrameworkError as error:
            return str(error)
        if settings is None:
            return f"trainer={plan.trainer.component.name} does not report how it uses memory"
        return context

    def _forecast(self, plan: Plan, context: PlanContext | str) -> Forecast:
        if isinstance(context, str):
            return Forecast(None, context, [], self.applied, None, None, list(advice(plan, None, self.session.plugins)))
        known, settings = context.known, context.settings
        assert settings is not None  # noqa: S101 - as `_context` made sure
        estimate = context.estimate(settings)
        memory = Memory(
            device=context.device,
            available=context.available,
            fit_status=context.fit_status(estimate),
            tokens=settings.tokens,
            rows_known=known is not None,
            parts=estimate.parts,
            phases=estimate.phases,
            allocated=estimate.allocated,
            reserved=estimate.reserved,
            low=estimate.low,
            high=estimate.high,
            # Which rows come is not known yet, so only what any row needs is certain.
            least=context.least(settings) if known else sum(estimate.parts.values()),
        )
        changes, smaller = fit.remedies(context, estimate)
        doing = work(plan, context.shape, settings, known, context.device) if known else None
        trained = trained_parameters(context.shape, settings) * trained_bytes(settings)
        exports = _exports(plan, context.shape, self.session.plugins)
        held = max((need.memory for need in exports.values()), default=0)
        disk = _disk(plan, trained, exports, whole=settings.full)
        return Forecast(
            memory,
            "",
            changes,
            self.applied,
            doing,
            disk,
            list(advice(plan, doing, self.session.plugins)),
            smaller,
            held,
        )


def _meant(plan: Plan) -> tuple[Stage, ...]:
    """Return the stages that are planned for: all of them, where only the plan is asked for."""
    return tuple(Stage) if plan.stages == (Stage.plan,) else plan.stages


def _exports(plan: Plan, shape: Shape, plugins: Plugins) -> dict[str, ExportNeed]:
    """Return the plugins' needs of the exporters, by their names in the plan."""
    if Stage.export not in _meant(plan):
        return {}
    return {need.name: need for _, need in plugins.ask("framework_export_needs", ExportNeed, plan=plan, shape=shape)}


def _disk(plan: Plan, trained: int, exports: Mapping[str, ExportNeed], *, whole: bool) -> Disk | None:
    """Return what the run writes: the trained weights, what exporters tell, and for each other one as much again.

    Of a `whole` model the weights of the best validation lie there meanwhile.
    """
    stages = _meant(plan)
    if not {Stage.train, Stage.export} & set(stages):
        return None
    parts, training = {}, plan.training
    if Stage.train in stages:
        parts["checkpoint"] = trained
        if whole and training.keep_best and (training.eval_steps or training.num_train_epochs > 1):
            parts["best weights"] = trained
    if Stage.export in stages:
        parts |= {name: exports[name].disk if name in exports else trained for name in plan.exporter}
        if scratch := max((need.scratch for need in exports.values()), default=0):
            parts["while exporting"] = scratch
    # The run folder is not made yet, and the disk is that of the folder above it.
    folder = next(path for path in (plan.run_dir, *plan.run_dir.parents) if path.exists())
    return Disk(sum(parts.values()), shutil.disk_usage(Path(folder)).free, parts)
