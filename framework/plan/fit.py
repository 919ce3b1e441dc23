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
from framework.api.records import FitStatus, Forecast, MemoryReduction, SuggestedChange
from framework.api.schema import Stage
from framework.api.text.overrides import as_overrides
from framework.config.catalog import presets
from framework.config.compose import CONFIG_NAME, config_loader
from framework.hooks.manager import Plugins
from framework.memory import Estimate, Shape
from framework.plan.context import PlanContext
from framework.plan.overrides import changed
from framework.util.errors import DoesNotFitError, FrameworkError, summarize_error
from framework.util.host import GIB

STEP, SHORTEST = 64, 512
"""The length that 99% of the rows have is rounded up to a multiple of the first; rows above the second are halved."""
BILLION = 1e9
log = logging.getLogger(__name__)


def changes(context: PlanContext, estimate: Estimate) -> Iterator[tuple[SuggestedChange, MemoryReduction]]:
    """Give the changes that make a run fit, each on top of those before it.

    Of those that save something the first is taken, in the order of their price; then all are checked again.
    """
    left = sorted(_reductions(context), key=lambda reduction: reduction.price)
    fit_status = FitStatus.tight
    while fit_status is not FitStatus.fits:
        for reduction in left:
            other = _with(context, reduction)
            settings = other.settings if other else None
            needs = other.estimate(settings) if other and settings else estimate
            # Only the largest phase counts: what does not help now may help after another change, and stays.
            if other and needs.high < estimate.high:
                break
        else:
            return
        fit_status = other.fit_status(needs)
        change = SuggestedChange(
            as_overrides(reduction.settings), estimate.reserved - needs.reserved, reduction.costs, fit_status
        )
        yield change, reduction
        left.remove(reduction)
        context, estimate = other, needs


def remedies(context: PlanContext, estimate: Estimate) -> tuple[list[SuggestedChange], SuggestedChange | None]:
    """Return the changes that make a run fit, and where all of them do not, a smaller model that would."""
    if context.fit_status(estimate) is FitStatus.fits:
        return [], None
    applied, plan, fit_status = [], context.plan, context.fit_status(estimate)
    for change, reduction in changes(context, estimate):
        applied.append(change)
        plan, fit_status = changed(plan, reduction.settings), change.fit_status
    if fit_status is not FitStatus.too_large:
        return applied, None

    return applied, smaller_model(dataclasses.replace(context, plan=plan))


def _reductions(context: PlanContext) -> Iterator[MemoryReduction]:
    """Give what every plugin knows, and shorter rows: first without the longest in a hundred."""
    known, length = context.known, context.longest
    if known and (common := STEP * math.ceil(known.p99 / STEP)) < length:
        yield MemoryReduction({"trainer.max_seq_length": common}, "the longest row in a hundred", price=2)
        length = common
    plugins = context.session.plugins
    for plugin, reduction in plugins.ask("framework_memory_reductions", MemoryReduction, plan=context.plan):
        try:
            changed(context.plan, reduction.settings)
        except Exception as error:  # noqa: BLE001 - third-party code; it is named and left out
            plugins.skip_plugin(plugin, "framework_memory_reductions", error)
            continue
        yield reduction
    while length > SHORTEST:
        length //= 2
        yield MemoryReduction({"trainer.max_seq_length": length}, "the rows that are longer", price=2)


def _with(context: PlanContext, reduction: MemoryReduction) -> PlanContext | None:
    """Return the context of a plan that saves; None where what was taken before left nothing to change."""
    try:
        return dataclasses.replace(context, plan=changed(context.plan, reduction.settings))
    except FrameworkError:
        return None


def apply(context: PlanContext) -> tuple[PlanContext, list[str]]:
    """Return the plan with what makes it fit, and the words that say so.

    Until the rows are known, only what costs nothing is taken: the longest row that may come need not be there.
    """
    settings = context.settings
    if settings is None or context.fit_status(estimate := context.estimate(settings)) is FitStatus.fits:
        return context, []
    taken: dict[str, Any] = {}
    for _, reduction in changes(context, estimate):
        # The longest row that may come need not be there: until the rows are known only free changes are applied.
        if context.known or reduction.price == 0:
            taken |= reduction.settings
    return dataclasses.replace(context, plan=changed(context.plan, taken)), as_overrides(taken)


def check_fits(plan: Plan, forecast: Forecast) -> None:
    """Refuse a training for which there is not enough memory, whatever luck it has.

    Until the rows are known, that is one whose weights and optimizer alone do not fit.

    Raises:
        DoesNotFitError: says how much is needed, and what would make it fit.
    """
    memory = forecast.memory
    # A plan for another GPU says nothing about the memory of this machine.
    if memory is None or plan.planning.gpu or Stage.train not in plan.stages or memory.least <= memory.available:
        return
    least = f"at least {memory.least / GIB:.1f} GiB"
    needed = f"does not fit: {least} are needed, and {memory.device} has {memory.available / GIB:.1f}"
    raise DoesNotFitError(f"{needed}\n{remedy(forecast)}")


def remedy(forecast: Forecast) -> str:
    """Say what would make a run fit, in one line."""
    smaller = f"a smaller model, such as {forecast.smaller.overrides[0]}" if forecast.smaller else "a smaller model"
    if not forecast.changes:
        return f"Use {smaller}, shorter rows or quantization=nf4"
    # A later change of the same key replaces the earlier one: rows are halved more than once.
    last = {word.partition("=")[0]: word for change in forecast.changes for word in change.overrides}
    taken = " ".join(last.values())
    if forecast.changes[-1].fit_status is FitStatus.too_large:
        return f"It does not fit even with all of these: {taken}. Use {smaller}"
    return f"These make it fit, the cheapest first: {taken}. plan.apply=true applies them"


def smaller_model(context: PlanContext) -> SuggestedChange | None:
    """Return the largest preset that fits; None where none does, or where no size is known offline.

    A preset of the same family, `model_type` of config.json, goes before one of another. It is named and never taken:
    which model is tuned is not for a program to decide.

    Args:
        context: a run that does not fit, with every change that helps.
    """
    settings = context.settings
    if settings is None:
        return None
    candidates = []
    for name, shape in preset_shapes(context.session.plugins):
        other = dataclasses.replace(context, shape=shape)
        if shape.total >= context.shape.total or other.settings is None:
            continue
        estimate = other.estimate(other.settings)
        if other.fit_status(estimate) is FitStatus.fits:
            candidates.append((shape.family == context.shape.family, shape.total, name, estimate.reserved))
    if not candidates:
        return None
    # Tuples compare part by part: the same family first, then the size.
    _, parameters, name, reserved = max(candidates)
    sizes = f"{parameters / BILLION:.1f} instead of {context.shape.total / BILLION:.1f} billion parameters"
    saved = context.estimate(settings).reserved - reserved
    return SuggestedChange([f"model={name}"], saved, f"another model, with {sizes}", FitStatus.fits)


def preset_shapes(plugins: Plugins) -> Iterator[tuple[str, Shape]]:
    """Yield the model presets whose config.json is available, with its shape."""
    with config_loader() as loader:
        shapes = [(name, _shape(loader, name, plugins)) for name in presets(GROUPS["model"], loader)]
    yield from ((name, shape) for name, shape in shapes if shape)


def _shape(loader: ConfigLoader, name: str, plugins: Plugins) -> Shape | None:
    """Return what the model of a preset is made of; None where that is not available here."""
    try:
        node = loader.load_configuration(CONFIG_NAME, [f"model={name}"], RunMode.RUN).model
        source: ModelSource = plugins.selection_of(node).create()
        return Shape.from_config(source.config_json())
    except Exception as error:  # noqa: BLE001 - gated, not on this machine, unfinished: of no use to this run, nor a harm
        log.info("model=%s is passed over: %s", name, summarize_error(error))
        return None
