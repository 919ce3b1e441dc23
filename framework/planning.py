"""The plan stage: memory, what would make it fit, work, disk and advice, before anything is loaded.

It needs the model's config.json and what an earlier data stage found of the rows; without that, the longest row that
`trainer.max_seq_length` admits. After the data stage it is made again with the rows that are there.
"""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from framework import fitting, gpus, remembered
from framework.advice import advice
from framework.calibrate import calibrate
from framework.errors import FrameworkError
from framework.memory import Estimate, Settings
from framework.memory.terms import trained_bytes, trained_parameters
from framework.outlook import Outlook, read_shape
from framework.plan import Plan
from framework.protocols import ModelSource
from framework.records import Disk, Forecast, Memory, TrainResult, Verdict
from framework.remembered import KnownRows
from framework.schema import Stage
from framework.work import flops, work

ENOUGH_STEPS = 5
"""Steps below which a training tells the speed of its start, not of itself."""


def forecast(plan: Plan, source: ModelSource, known: KnownRows | None = None) -> tuple[Plan, Forecast]:
    """Return what a run takes, and the plan, changed where `plan.apply` has it changed.

    Args:
        plan: the run.
        source: its model.
        known: what the data stage found of the rows; by default what an earlier one with the same settings did.
    """
    found = known or remembered.known_rows(plan)
    gpu = gpus.named(plan.plan.gpu) if plan.plan.gpu else gpus.here()
    try:
        outlook = Outlook(plan, read_shape(source), gpu, found)
        settings = outlook.settings
        why = f"trainer={plan.trainer.component.name} does not tell how it uses memory"
    except FrameworkError as error:
        settings, why = None, str(error)
    if settings is None:
        return plan, Forecast(None, why, [], [], None, None, list(advice(plan, None)))
    if plan.plan.calibrate and known is None and not plan.plan.gpu and not outlook.correction:
        calibrate(plan, outlook.device, settings, capped=outlook.available)
    made = outlook.estimate(settings)
    changes = [] if outlook.verdict(made) is Verdict.fits else list(fitting.changes(outlook, made))
    applied: list[str] = []
    if changes and plan.plan.apply:
        outlook, applied = fitting.apply(outlook, [saving for _, saving in changes])
        changes, settings = [], outlook.settings or settings
        made = outlook.estimate(settings)
    told = _forecast(outlook, settings, made)
    return outlook.plan, dataclasses.replace(told, changes=[change for change, _ in changes], applied=applied)


def _forecast(outlook: Outlook, settings: Settings, made: Estimate) -> Forecast:
    plan, known = outlook.plan, outlook.known
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
    )
    doing = work(plan, outlook.shape, settings, known, outlook.device) if known else None
    disk = _disk(plan, trained_parameters(outlook.shape, settings) * trained_bytes(settings))
    return Forecast(memory, "", [], [], doing, disk, list(advice(plan, doing)))


def _disk(plan: Plan, trained: int) -> Disk | None:
    """Return what the run writes: the trained weights, and for each exporter as much again."""
    if Stage.train not in plan.stages:
        return None
    parts = {"checkpoint": trained}
    if Stage.export in plan.stages:
        parts |= dict.fromkeys(plan.exporter, trained)
    folder = next(path for path in (plan.run_dir, *plan.run_dir.parents) if path.exists())
    return Disk(sum(parts.values()), shutil.disk_usage(Path(folder)).free, parts)


def learn(plan: Plan, source: ModelSource, rows: KnownRows, trained: TrainResult) -> None:
    """Remember how fast this training was, and which share of the tokens went through the model."""
    gpu = gpus.here()
    try:
        outlook = Outlook(plan, read_shape(source), gpu, rows)
    except FrameworkError:  # an unusual model, of which the plan has said so
        return
    settings = outlook.settings
    if settings is None or trained.steps < ENOUGH_STEPS or not trained.seconds or not trained.tokens:
        return
    computed = trained.computed_tokens or trained.tokens
    length = rows.tokens / rows.rows
    done = flops(outlook.shape, settings, computed, trained.supervised_tokens, length)
    remembered.remember_speed(outlook.device, done / trained.seconds)
    remembered.remember_rows(plan, dataclasses.replace(rows, computed=computed / trained.tokens))
