"""Whether a run fits, and what would make it fit: savings, the cheapest first, then a smaller model."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

from framework.api.component import GROUPS
from framework.api.plan import Plan
from framework.api.protocols import ModelSource
from framework.api.records import FitChange, Forecast, Saving, Verdict
from framework.api.schema import Stage
from framework.api.text.overrides import as_overrides
from framework.config.catalog import presets
from framework.config.compose import CONFIG_NAME, config_loader
from framework.hooks.session import current
from framework.memory import Estimate, Shape
from framework.plan.context import Outlook
from framework.plan.overrides import changed
from framework.util.errors import DoesNotFitError, FrameworkError, one_line
from framework.util.host import GIB

STEP, SHORTEST = 64, 512
"""The length that 99% of the rows have is rounded up to a multiple of the first; rows above the second are halved."""
BILLION = 1e9
log = logging.getLogger(__name__)


def changes(outlook: Outlook, made: Estimate) -> Iterator[tuple[FitChange, Saving]]:
    """Give the changes that make a run fit, each on top of those before it.

    Of those that save something the first is taken, in the order of their price; then all are looked at again.
    """
    left = sorted(_savings(outlook), key=lambda saving: saving.price)
    verdict = Verdict.tight
    while verdict is not Verdict.fits:
        for saving in left:
            other = _with(outlook, saving)
            settings = other.settings if other else None
            needs = other.estimate(settings) if other and settings else made
            if other and needs.high < made.high:
                break
        else:
            return
        verdict = other.verdict(needs)
        change = FitChange(as_overrides(saving.settings), made.reserved - needs.reserved, saving.costs, verdict)
        yield change, saving
        left.remove(saving)
        outlook, made = other, needs


def remedies(outlook: Outlook, made: Estimate) -> tuple[list[FitChange], FitChange | None]:
    """Return the changes that make a run fit, and where all of them do not, a smaller model that would."""
    if outlook.verdict(made) is Verdict.fits:
        return [], None
    found, plan, verdict = [], outlook.plan, outlook.verdict(made)
    for change, saving in changes(outlook, made):
        found.append(change)
        plan, verdict = changed(plan, saving.settings), change.verdict
    if verdict is not Verdict.too_large:
        return found, None

    return found, smaller_model(dataclasses.replace(outlook, plan=plan))


def _savings(outlook: Outlook) -> Iterator[Saving]:
    """Give what every plugin knows, and shorter rows: first without the longest in a hundred."""
    known, length = outlook.known, outlook.longest
    if known and (common := STEP * math.ceil(known.p99 / STEP)) < length:
        yield Saving({"trainer.max_seq_length": common}, "the longest of a hundred rows", price=2)
        length = common
    for plugin, saving in current().plugins.ask("framework_savings", plan=outlook.plan):
        if not isinstance(saving, Saving):
            current().plugins.leave_out(plugin, "framework_savings", f"it gives a {type(saving).__name__}, no Saving")
            continue
        try:
            changed(outlook.plan, saving.settings)
        except Exception as error:  # noqa: BLE001 - a stranger's, whatever is in it; it is named and left out
            current().plugins.leave_out(plugin, "framework_savings", error)
            continue
        yield saving
    while length > SHORTEST:
        length //= 2
        yield Saving({"trainer.max_seq_length": length}, "the rows that are longer", price=2)


def _with(outlook: Outlook, saving: Saving) -> Outlook | None:
    """Return the outlook on a plan that saves; None where what was taken before left nothing to change."""
    try:
        return dataclasses.replace(outlook, plan=changed(outlook.plan, saving.settings))
    except FrameworkError:
        return None


def apply(outlook: Outlook) -> tuple[Outlook, list[str]]:
    """Return the plan with what makes it fit, and the words that say so.

    Until the rows are known, only what costs nothing is taken: the longest row that may come need not be there.
    """
    settings = outlook.settings
    if settings is None or outlook.verdict(made := outlook.estimate(settings)) is Verdict.fits:
        return outlook, []
    taken: dict[str, Any] = {}
    for _, saving in changes(outlook, made):
        if outlook.known or saving.price == 0:
            taken |= saving.settings
    return dataclasses.replace(outlook, plan=changed(outlook.plan, taken)), as_overrides(taken)


def check_fits(plan: Plan, told: Forecast) -> None:
    """Refuse a training for which there is not enough memory, whatever luck it has.

    Until the rows are known, that is one whose weights and optimizer alone do not fit.

    Raises:
        DoesNotFitError: says how much is needed, and what would make it fit.
    """
    memory = told.memory
    if memory is None or plan.plan.gpu or Stage.train not in plan.stages or memory.least <= memory.available:
        return
    least = f"at least {memory.least / GIB:.1f} GiB"
    needed = f"does not fit: {least} are needed, and {memory.device} has {memory.available / GIB:.1f}"
    message = f"{needed}\n{remedy(told)}"
    raise DoesNotFitError(message)


def remedy(told: Forecast) -> str:
    """Say what would make a run fit, in one line."""
    smaller = f"a smaller model, such as {told.smaller.words[0]}" if told.smaller else "a smaller model"
    if not told.changes:
        return f"Take {smaller}, shorter rows or quantization=nf4"
    last = {word.partition("=")[0]: word for change in told.changes for word in change.words}
    taken = " ".join(last.values())
    if told.changes[-1].verdict is Verdict.too_large:
        return f"Not even all of these make it fit: {taken}. Take {smaller}"
    return f"These make it fit, the cheapest first: {taken}. plan.apply=true takes them"


def smaller_model(outlook: Outlook) -> FitChange | None:
    """Return the largest preset that fits; None where none does, or none of them tells its size from here.

    A preset of the same family, `model_type` of config.json, goes before one of another. It is named and never taken:
    which model is tuned is not for a program to decide.

    Args:
        outlook: a run that does not fit, with every change that helps.
    """
    settings = outlook.settings
    if settings is None:
        return None
    found = []
    for name, shape in _presets():
        other = dataclasses.replace(outlook, shape=shape)
        if shape.total >= outlook.shape.total or other.settings is None:
            continue
        made = other.estimate(other.settings)
        if other.verdict(made) is Verdict.fits:
            found.append((shape.family == outlook.shape.family, shape.total, name, made.reserved))
    if not found:
        return None
    _, parameters, name, reserved = max(found)
    sizes = f"{parameters / BILLION:.1f} instead of {outlook.shape.total / BILLION:.1f} billion parameters"
    saved = outlook.estimate(settings).reserved - reserved
    return FitChange([f"model={name}"], saved, f"another model, of {sizes}", Verdict.fits)


def _presets() -> Iterator[tuple[str, Shape]]:
    """Give the model presets whose config.json can be had, with its shape."""
    with config_loader() as loader:
        shapes = [(name, _shape(loader, name)) for name in presets(GROUPS["model"], loader)]
    yield from ((name, shape) for name, shape in shapes if shape)


def _shape(loader: ConfigLoader, name: str) -> Shape | None:
    """Return what the model of a preset is made of; None where that cannot be had from here."""
    try:
        node = loader.load_configuration(CONFIG_NAME, [f"model={name}"], RunMode.RUN).model
        source: ModelSource = current().plugins.selection_of(node).create()
        return Shape.from_config(source.config_json())
    except Exception as error:  # noqa: BLE001 - gated, not on this machine, unfinished: of no use to this run, nor a harm
        log.info("model=%s is passed over: %s", name, one_line(error))
        return None
