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
from framework.api.records import Disk, ExportNeed, Forecast, Memory, TrainResult, Verdict
from framework.api.schema import Stage
from framework.hooks.session import current
from framework.memory import Settings, Shape
from framework.memory.terms import trained_bytes, trained_parameters
from framework.plan import calibration, fit, history
from framework.plan.advice import advice
from framework.plan.compute import flops, speed_key, work
from framework.plan.context import Outlook
from framework.plan.history import KnownRows
from framework.util import gpus
from framework.util.errors import FrameworkError

ENOUGH_STEPS, ENOUGH_WORK = 5, 1e12
"""Steps and operations below which a training tells the speed of its start, not of itself."""


class Planner:
    """Plans one run: first with what is known, then with the rows.

    Args:
        source: the model of the run.
    """

    def __init__(self, source: ModelSource) -> None:
        self.source = source
        self.applied: list[str] = []

    @functools.cached_property
    def shape(self) -> Shape:
        """What the model is made of.

        Raises:
            FrameworkError: config.json does not tell.
        """
        config = self.source.config_json()
        if not config:
            message = "the model has no config.json"
            raise FrameworkError(message)
        return Shape.from_config(config)

    def first(self, plan: Plan) -> tuple[Plan, Forecast]:
        """Return what a run takes before its data are read, and the plan, changed where `plan.apply` has it changed.

        Raises:
            FrameworkError: `plan.gpu` is no GPU, or a probe of `plan.calibrate` failed.
        """
        outlook = self._outlook(plan, history.known_rows(plan))
        settings = outlook if isinstance(outlook, str) else outlook.settings
        trains = Stage.train in plan.stages or plan.stages == (Stage.plan,)
        if isinstance(outlook, str) or not isinstance(settings, Settings) or not trains:
            return plan, self._told(plan, outlook)
        if outlook.known or plan.stages == (Stage.plan,):  # else it is measured with the rows, when they are known
            outlook = self._calibrated(outlook)
        if plan.plan.apply:
            outlook, self.applied = fit.apply(outlook)
        return outlook.plan, self._told(outlook.plan, outlook)

    def again(self, plan: Plan, known: KnownRows) -> Forecast:
        """Return what it takes with the rows that the data stage found; the plan stays as it is."""
        outlook = self._outlook(plan, known)
        if not isinstance(outlook, str) and Stage.train in plan.stages:
            outlook = self._calibrated(outlook)
        return self._told(plan, outlook)

    def learn(self, plan: Plan, rows: KnownRows, trained: TrainResult) -> None:
        """Remember how fast this training was, and which share of the tokens went through the model."""
        outlook = self._outlook(plan, rows)
        settings = None if isinstance(outlook, str) or plan.plan.gpu else outlook.settings
        own = not trained.taken_from  # else it was learned when it was made
        enough = own and trained.steps >= ENOUGH_STEPS and trained.seconds > 0 and trained.tokens > 0
        if isinstance(outlook, str) or settings is None or not enough:
            return
        computed = trained.computed_tokens or trained.tokens
        done = flops(outlook.shape, settings, computed, trained.supervised_tokens, rows.tokens / rows.rows)
        if done >= ENOUGH_WORK:
            history.remember_speed(speed_key(outlook.device, settings), done / trained.seconds)
        history.remember_rows(plan, dataclasses.replace(rows, computed=computed / trained.tokens))

    def _outlook(self, plan: Plan, known: KnownRows | None) -> Outlook | str:
        """Return the plan with what is known of it, or why there is too little."""
        named = gpus.named(plan.plan.gpu) if plan.plan.gpu else None  # a mistake in it is the user's to mend
        try:
            outlook = Outlook(plan, self.shape, named or gpus.here(), known)
            settings = outlook.settings
        except FrameworkError as error:
            return str(error)
        if settings is None:
            return f"trainer={plan.trainer.component.name} does not tell how it uses memory"
        found = 0.0 if plan.plan.gpu else calibration.offset(outlook.device, settings)
        return dataclasses.replace(outlook, offset=found)

    def _calibrated(self, outlook: Outlook) -> Outlook:
        """Run the probe where it is asked for and none was run yet, unless the run is far too large for one."""
        settings, asked = outlook.settings, outlook.plan.plan
        if settings is None or not asked.calibrate or asked.gpu or outlook.offset:
            return outlook
        if outlook.verdict(outlook.estimate(settings)) is Verdict.too_large or settings.processes > 1:
            return outlook  # a probe is one process
        capped = None if outlook.used else outlook.available
        from framework.plan.calibration import measure  # noqa: PLC0415 - few runs need it

        found = measure(outlook.plan, outlook.longest, capped=capped)
        calibration.keep(outlook.device, settings, found)
        return dataclasses.replace(outlook, offset=found)

    def _told(self, plan: Plan, outlook: Outlook | str) -> Forecast:
        if isinstance(outlook, str):
            return Forecast(None, outlook, [], self.applied, None, None, list(advice(plan, None)))
        known, settings = outlook.known, outlook.settings
        assert settings is not None  # noqa: S101 - as `_outlook` made sure
        made = outlook.estimate(settings)
        memory = Memory(
            device=outlook.device,
            available=outlook.available,
            verdict=outlook.verdict(made),
            tokens=settings.tokens,
            rows_known=known is not None,
            parts=made.parts,
            phases=made.phases,
            allocated=made.allocated,
            reserved=made.reserved,
            low=made.low,
            high=made.high,
            least=outlook.least(settings) if known else sum(made.parts.values()),
        )
        changes, smaller = fit.remedies(outlook, made)
        doing = work(plan, outlook.shape, settings, known, outlook.device) if known else None
        trained = trained_parameters(outlook.shape, settings) * trained_bytes(settings)
        exports = _exports(plan, outlook.shape)
        held = max((need.memory for need in exports.values()), default=0)
        disk = _disk(plan, trained, exports, whole=settings.full)
        return Forecast(memory, "", changes, self.applied, doing, disk, list(advice(plan, doing)), smaller, held)


def _meant(plan: Plan) -> tuple[Stage, ...]:
    """Return the stages that are planned for: all of them, where only the plan is asked for."""
    return tuple(Stage) if plan.stages == (Stage.plan,) else plan.stages


def _exports(plan: Plan, shape: Shape) -> dict[str, ExportNeed]:
    """Return what plugins tell of the exporters, by their names in the plan."""
    found = {}
    for plugin, need in (
        current().plugins.ask("framework_export_needs", plan=plan, shape=shape) if Stage.export in _meant(plan) else ()
    ):
        if isinstance(need, ExportNeed):
            found[need.name] = need
        else:
            current().plugins.leave_out(
                plugin, "framework_export_needs", f"it gives a {type(need).__name__}, no ExportNeed"
            )
    return found


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
    folder = next(path for path in (plan.run_dir, *plan.run_dir.parents) if path.exists())
    return Disk(sum(parts.values()), shutil.disk_usage(Path(folder)).free, parts)
