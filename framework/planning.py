"""The plan stage: memory, what would make it fit, work, disk and advice, before anything is loaded.

It needs the model's config.json and what an earlier data stage found of the rows; without that, the longest row that
`trainer.max_seq_length` admits. After the data stage it is made again with the rows that are there.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework import gpus, remembered
from framework.advice import advice
from framework.calibrate import Correction, calibrate, correction
from framework.changed import changed, words
from framework.errors import DoesNotFitError, FrameworkError, one_line
from framework.gpus import Gpu
from framework.memory import Estimate, Settings, Shape, estimate
from framework.memory.terms import trained_bytes, trained_parameters
from framework.plan import Plan
from framework.plugins import ask, leave_out
from framework.protocols import ModelSource
from framework.records import Disk, FitChange, Forecast, Memory, TrainResult, Verdict
from framework.remembered import KnownRows
from framework.schema import Stage
from framework.work import flops, work

CPU = "CPU"
STEP, SHORTEST = 64, 512
"""Proposed lengths are multiples of the first, and not below the second: shorter rows are hardly conversations."""
GIB = 2**30
ENOUGH_STEPS = 5
"""Steps below which a training tells the speed of its start, not of itself."""


@dataclass(frozen=True)
class Saving:
    """What makes a run need less memory.

    Attributes:
        settings: what to change, `{"trainer.max_seq_length": 1024}`.
        costs: what is paid for that, in a few words.
        price: in what: 0 nothing, 1 time, 2 what is learned. The cheap ones are tried first.
    """

    settings: Mapping[str, Any]
    costs: str
    price: int = 1


@dataclass(frozen=True)
class Outlook:
    """A plan with what is known of it."""

    plan: Plan
    shape: Shape
    gpu: Gpu | None
    known: KnownRows | None

    @property
    def longest(self) -> int:
        """Tokens of the longest row that may come."""
        limit = self.plan.training.max_seq_length
        return min(limit, self.known.longest) if self.known else limit

    @property
    def settings(self) -> Settings | None:
        """How the plan trains, as its trainer tells; None where it does not."""
        sizes = {"longest": self.longest, "shared": self.known.shared if self.known else 0}
        given = ask("framework_memory", plan=self.plan, shape=self.shape, gpu=self.gpu, **sizes)
        for plugin, settings in given:
            if isinstance(settings, Settings):
                return settings
            leave_out(plugin, "framework_memory", f"it gives a {type(settings).__name__}, no Settings")
        return None

    @property
    def device(self) -> str:
        """The device in words."""
        return self.gpu.name if self.gpu else CPU

    @property
    def available(self) -> int:
        """Bytes that the device has for a run."""
        if self.gpu:
            return self.gpu.usable
        import psutil  # noqa: PLC0415 - 10 ms for those without a GPU

        return int(psutil.virtual_memory().available)

    @property
    def correction(self) -> Correction | None:
        """What probes found on this device for such a training; a plan for another GPU has none."""
        settings = self.settings
        return correction(self.device, settings) if settings and not self.plan.plan.gpu else None

    def estimate(self, settings: Settings) -> Estimate:
        """Return what a training takes, corrected where this device has been calibrated."""
        made, known = estimate(self.shape, settings), self.correction
        return known.apply(made) if known else made

    def verdict(self, made: Estimate) -> Verdict:
        """Say whether an estimate fits."""
        if made.high <= self.available:
            return Verdict.fits
        return Verdict.tight if made.low <= self.available else Verdict.too_large


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
    changes = list(_changes(outlook, made)) if outlook.verdict(made) is not Verdict.fits else []
    applied: list[str] = []
    if changes and plan.plan.apply:
        outlook, changes, applied = _apply(outlook, changes)
        settings = outlook.settings or settings
        made = outlook.estimate(settings)
    told = _forecast(outlook, settings, made)
    return outlook.plan, dataclasses.replace(told, changes=[change for change, _ in changes], applied=applied)


def read_shape(source: ModelSource) -> Shape:
    """Read config.json of a model.

    Raises:
        FrameworkError: it is not there, or describes no decoder of equal dense layers.
    """
    file = source.fetch(weights=False).folder / "config.json"
    try:
        return Shape.from_config(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        message = f"{file.parent} has no config.json"
        raise FrameworkError(message) from error
    except (OSError, ValueError) as error:
        message = f"{file} cannot be read: {one_line(error)}"
        raise FrameworkError(message) from error


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


def _changes(outlook: Outlook, made: Estimate) -> Iterator[tuple[FitChange, dict[str, Any]]]:
    """Give the changes that make a run fit, each on top of those before it.

    Of those that save something the first is taken, in the order of their price; then all are looked at again.
    """
    left = sorted(_savings(outlook), key=lambda saving: saving.price)
    verdict = Verdict.tight
    while verdict is not Verdict.fits:
        for saving in left:
            other = dataclasses.replace(outlook, plan=changed(outlook.plan, saving.settings))
            settings = other.settings
            needs = other.estimate(settings) if settings else made
            if needs.high < made.high:
                break
        else:
            return
        verdict = other.verdict(needs)
        change = FitChange(words(saving.settings), made.reserved - needs.reserved, saving.costs, verdict)
        yield change, dict(saving.settings)
        left.remove(saving)
        outlook, made = other, needs


def _savings(outlook: Outlook) -> Iterator[Saving]:
    """Give what every plugin knows, and shorter rows: first without the longest in a hundred."""
    known, length = outlook.known, outlook.longest
    if known and (common := STEP * math.ceil(known.p99 / STEP)) < length:
        yield Saving({"trainer.max_seq_length": common}, "the longest of a hundred rows", price=2)
        length = common
    for plugin, saving in ask("framework_savings", plan=outlook.plan):
        if isinstance(saving, Saving):
            yield saving
        else:
            leave_out(plugin, "framework_savings", f"it gives a {type(saving).__name__}, no Saving")
    while length > SHORTEST:
        length //= 2
        yield Saving({"trainer.max_seq_length": length}, "the rows that are longer", price=2)


def _apply(
    outlook: Outlook, changes: list[tuple[FitChange, dict[str, Any]]]
) -> tuple[Outlook, list[tuple[FitChange, dict[str, Any]]], list[str]]:
    """Take the changes; the words that say so."""
    settings: dict[str, Any] = {}
    for _, more in changes:
        settings |= more
    return dataclasses.replace(outlook, plan=changed(outlook.plan, settings)), [], words(settings)


def _disk(plan: Plan, trained: int) -> Disk | None:
    """Return what the run writes: the trained weights, and for each exporter as much again."""
    if Stage.train not in plan.stages:
        return None
    parts = {"checkpoint": trained}
    if Stage.export in plan.stages:
        parts |= dict.fromkeys(plan.exporter, trained)
    folder = next(path for path in (plan.run_dir, *plan.run_dir.parents) if path.exists())
    return Disk(sum(parts.values()), shutil.disk_usage(Path(folder)).free, parts)


def check_fits(plan: Plan, told: Forecast) -> None:
    """Refuse a training for which there is not enough memory, whatever luck it has.

    Until the rows are known, that is one whose weights and optimizer alone do not fit.

    Raises:
        DoesNotFitError: says how much is needed, and what would make it fit.
    """
    memory = told.memory
    if memory is None or plan.plan.gpu or Stage.train not in plan.stages:
        return
    least = memory.low if memory.rows_known else sum(memory.parts.values())
    if least <= memory.available:
        return
    needed = (
        f"{memory.low / GIB:.1f} to {memory.high / GIB:.1f}" if memory.rows_known else f"{least / GIB:.1f} and more"
    )
    message = f"does not fit: {needed} GiB are needed, and {memory.device} has {memory.available / GIB:.1f}"
    message = f"{message}\n{remedy(told)}"
    raise DoesNotFitError(message)


def remedy(told: Forecast) -> str:
    """Say what would make a run fit, in one line."""
    if not told.changes:
        return "Take a smaller model, shorter rows or quantization=nf4"
    last = {word.partition("=")[0]: word for change in told.changes for word in change.words}
    taken = " ".join(last.values())
    if told.changes[-1].verdict is Verdict.too_large:
        return f"Not even all of these make it fit: {taken}. Take a smaller model"
    return f"These make it fit, the cheapest first: {taken}. plan.apply=true takes them"


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
