"""Whether a run fits, and what would make it fit: savings, the cheapest first, then a smaller model."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode

from framework.api.component import GROUPS
from framework.api.fields import CONTAINERS, Type, fields
from framework.api.plan import Plan
from framework.api.protocols import ModelSource
from framework.api.records import FitStatus, Forecast, MemoryReduction, SuggestedChange
from framework.api.selection import Selection
from framework.api.text.forecast import when_applied
from framework.api.text.overrides import as_overrides, quoted
from framework.config.catalog import presets
from framework.config.check import option_name, out_of_range, unknown_key
from framework.config.compose import config_loader
from framework.hooks.manager import Plugins
from framework.hooks.session import Session, current
from framework.memory import Estimate, MemorySettings, Shape, estimate, least
from framework.rundir.known import KnownRows
from framework.util.errors import FrameworkError, summarize_error, unknown
from framework.util.gpus import Gpu
from framework.util.redact import redact

CPU = "CPU"
STEP, SHORTEST = 64, 512
"""The length that 99% of the rows have is rounded up to a multiple of the first; rows above the second are halved."""
BILLION = 1e9
log = logging.getLogger(__name__)
KINDS: dict[Any, Any] = {float: int | float, **CONTAINERS}
"""What a field takes besides values of its own type."""


@dataclass(frozen=True)
class PlanContext:
    """A plan with its known facts.

    Attributes:
        plan: the run.
        shape: its model.
        gpu: the GPU that is here or that is planned for; the trainer may take the CPU all the same.
        known: the rows, where a data stage has found them.
        session: whose plugins tell how the plan trains.
        settings: how it trains, as its trainer tells.

    Raises:
        FrameworkError: the trainer does not tell, or refuses the plan.
    """

    plan: Plan
    shape: Shape
    gpu: Gpu | None
    known: KnownRows | None
    session: Session
    settings: MemorySettings = field(init=False)

    def __post_init__(self) -> None:
        """Ask how the plan trains."""
        answers = self.session.plugins.ask(
            "framework_memory", MemorySettings, plan=self.plan, shape=self.shape, gpu=self.gpu, longest=self.longest,
            mean=self.mean, shared=self.known.shared if self.known else 0,
        )  # fmt: skip
        name = self.plan.trainer.component.name
        # Of a trainer that builds on another one, both may tell: what comes from its own plugin is right.
        registered = self.session.plugins.registrations("trainer").get(name)
        plugin = registered.plugin if registered else ""
        reports = sorted(answers, key=lambda answer: answer[0].partition(":")[0] != plugin)
        if not reports:
            raise FrameworkError(f"trainer={name} does not report how it uses memory")
        object.__setattr__(self, "settings", reports[0][1])

    def changed(self, settings: Mapping[str, Any]) -> PlanContext:
        """Return the context of the plan with settings changed.

        Raises:
            FrameworkError: the plan cannot have them.
        """
        return dataclasses.replace(self, plan=changed(self.plan, settings))

    @property
    def longest(self) -> int:
        """Tokens of the longest row that may come."""
        limit = self.plan.training.max_seq_length
        return min(limit, self.known.longest) if self.known else limit

    @property
    def mean(self) -> int:
        """Tokens of an average row, rounded up; until the rows are known those of the longest."""
        return min(self.longest, math.ceil(self.known.tokens / self.known.rows)) if self.known else self.longest

    @property
    def used(self) -> Gpu | None:
        """The GPU that the training takes; None if it is a process on the CPU."""
        return None if self.settings.process else self.gpu

    @property
    def device(self) -> str:
        """The name of the device."""
        return self.used.name if self.used else CPU

    @functools.cached_property
    def available(self) -> int:
        """Bytes that the device has for a run: on a CPU with those that this process has already."""
        if self.used:
            # What is kept for the next trial of a sweep is used by it, or freed.
            return self.used.usable + (0 if self.plan.settings.plan.gpu else self.session.shared.gpu_bytes)
        from framework.util import host  # noqa: PLC0415 - psutil takes 10 ms, for those without a GPU

        return host.memory().available + host.own()

    def estimate(self) -> Estimate:
        """Return what the training takes, in passes of the longest rows.

        On a CPU, whose memory is that of the largest pass, the band goes down to that of average rows: where lengths
        vary, the longest may never meet.
        """
        result = estimate(self.shape, self.settings)
        if self.known is None or self.used:
            return result
        average = dataclasses.replace(self.settings, length=round(self.settings.length * self.mean / self.longest))
        return dataclasses.replace(result, low=min(result.low, estimate(self.shape, average).low))

    def least(self) -> int:
        """Return what it takes at the least, in bytes.

        On a GPU a run that runs out of memory makes its passes smaller, and their tensors are counted; on a CPU Linux
        ends it.
        """
        return least(self.shape, self.settings).allocated if self.used else self.estimate().low

    def fit_status(self, estimate: Estimate) -> FitStatus:
        """Say whether an estimate fits."""
        if estimate.high <= self.available:
            return FitStatus.fits
        return FitStatus.tight if estimate.low <= self.available else FitStatus.too_large


def changes(context: PlanContext) -> Iterator[tuple[SuggestedChange, MemoryReduction, PlanContext]]:
    """Give the changes that make a run fit, each on top of those before it, with the run that it makes.

    Of those that save something the first is taken, in the order of their price; then all are checked again.
    """
    remaining = sorted(_reductions(context), key=lambda reduction: reduction.price)
    estimate = context.estimate()
    fit_status = FitStatus.tight
    while fit_status is not FitStatus.fits:
        for reduction in remaining:
            try:
                candidate = context.changed(reduction.settings)
            except FrameworkError:  # what was taken before left nothing to change
                continue
            needs = candidate.estimate()
            # Only the largest phase counts: what does not help now may help after another change, and stays.
            if needs.high < estimate.high:
                break
        else:
            return
        fit_status = candidate.fit_status(needs)
        change = SuggestedChange(
            as_overrides(reduction.settings), estimate.reserved - needs.reserved, reduction.costs, fit_status
        )
        yield change, reduction, candidate
        remaining.remove(reduction)
        context, estimate = candidate, needs


def remedies(context: PlanContext, estimate: Estimate) -> tuple[list[SuggestedChange], SuggestedChange | None]:
    """Return the changes that make a run fit, and where all of them do not, a smaller model that would."""
    applied, final_context, fit_status = [], context, context.fit_status(estimate)
    if fit_status is FitStatus.fits:
        return [], None
    for change, _, final_context in changes(context):  # noqa: B007 - the run with all of them
        applied.append(change)
        fit_status = change.fit_status
    return applied, smaller_model(final_context) if fit_status is FitStatus.too_large else None


def _reductions(context: PlanContext) -> Iterator[MemoryReduction]:
    """Give what every plugin knows, and shorter rows: first without the longest in a hundred."""
    rows, length = context.known, context.longest
    if rows and (common := STEP * math.ceil(rows.p99 / STEP)) < length:
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


def apply(context: PlanContext) -> tuple[PlanContext, list[str]]:
    """Return the plan with what makes it fit, and the words that say so.

    Until the rows are known, only what costs nothing is taken: the longest row that may come need not be there.
    """
    if context.fit_status(context.estimate()) is FitStatus.fits:
        return context, []
    settings: dict[str, Any] = {}
    for _, reduction, _ in changes(context):
        if context.known or reduction.price == 0:
            settings |= reduction.settings
    return context.changed(settings), as_overrides(settings)


def remedy(forecast: Forecast) -> str:
    """Say what would make a run fit, in one line."""
    smaller = f"a smaller model, such as {forecast.smaller.overrides[0]}" if forecast.smaller else "a smaller model"
    if not forecast.changes:
        return f"Use {smaller}, shorter rows or quantization=nf4"
    # A later change of the same key replaces the earlier one: rows are halved more than once.
    word_by_key = {word.partition("=")[0]: word for change in forecast.changes for word in change.overrides}
    overrides = " ".join(word_by_key.values())
    if forecast.changes[-1].fit_status is FitStatus.too_large:
        return f"It does not fit even with all of these: {overrides}. Use {smaller}"
    return f"These make it fit, the cheapest first: {overrides}. {when_applied(forecast, 'them')}"


def smaller_model(context: PlanContext) -> SuggestedChange | None:
    """Return the largest preset that fits; None if none does, or where no size is known offline.

    A preset of the same family, `model_type` of config.json, goes before one of another. It is named and never taken:
    which model is tuned is not for a program to decide.

    Args:
        context: a run that does not fit, with every change that helps.
    """
    candidates = []
    for name, shape in preset_shapes(context.session.plugins):
        if shape.total >= context.shape.total:
            continue
        try:
            candidate = dataclasses.replace(context, shape=shape)
        except FrameworkError:  # the trainer does not take such a model; it is not the one of this run
            continue
        estimate = candidate.estimate()
        if candidate.fit_status(estimate) is FitStatus.fits:
            candidates.append((shape.family == context.shape.family, shape.total, name, estimate.reserved))
    if not candidates:
        return None
    # Tuples compare part by part: the same family first, then the size.
    _, parameters, name, reserved = max(candidates)
    sizes = f"{parameters / BILLION:.1f} instead of {context.shape.total / BILLION:.1f} billion parameters"
    saved = context.estimate().reserved - reserved
    return SuggestedChange([f"model={name}"], saved, f"another model, with {sizes}", FitStatus.fits)


def preset_shapes(plugins: Plugins) -> Iterator[tuple[str, Shape]]:
    """Yield the model presets whose config.json is available, with its shape."""
    with config_loader() as loader:
        shapes = [(name, _shape(loader, name, plugins)) for name in presets(GROUPS["model"], loader)]
    yield from ((name, shape) for name, shape in shapes if shape)


def _shape(loader: ConfigLoader, name: str, plugins: Plugins) -> Shape | None:
    """Return what the model of a preset is made of; None if that is not available here."""
    try:
        with warnings.catch_warnings():
            # A preset alone, a fifth of the work, is a primary config, of which Hydra expects `_self_` in its defaults.
            warnings.filterwarnings("ignore", "In 'model/.*': Defaults list is missing `_self_`", UserWarning)
            node = loader.load_configuration(f"model/{name}", [], RunMode.RUN).model
        source: ModelSource = plugins.selection_of(node).create()
        return Shape.from_config(source.config_json())
    except Exception as error:  # noqa: BLE001 - gated, not on this machine, unfinished: of no use to this run, nor a harm
        log.info("model=%s is passed over: %s", name, summarize_error(error))
        return None


def changed(plan: Plan, settings: Mapping[str, Any]) -> Plan:
    """Return a plan with settings changed, `{"trainer.answers_at_once": 4, "quantization": "nf4"}`.

    A group without a field chooses an option with its defaults. The plan's config and words change with it, so that a
    rerun is the same run.

    Raises:
        FrameworkError: the plan has no such setting, or it cannot have that value.
    """
    for key, value in settings.items():
        group, *names = key.split(".")
        if group not in GROUPS:
            raise FrameworkError(unknown("config group", group, GROUPS))
        selection = _changed_option(getattr(plan, group), key, value)
        replacements: dict[str, Any] = {group: selection}
        section: Any = dict(redact(selection.settings))  # as in `plan.json`
        if GROUPS[group].several:
            replacements = {group: {**getattr(plan, group), names[0]: selection}}
            section = {**plan.config[group], names[0]: section}
        words = (word for word in plan.overrides if not _sets(word, key))
        replacements |= {"config": {**plan.config, group: section}, "overrides": (*words, f"{key}={quoted(value)}")}
        plan = dataclasses.replace(plan, **replacements)
    return plan


def _changed_option(chosen: Selection | Mapping[str, Selection], key: str, value: Any) -> Selection:
    """Return the option that a key is about, changed, of what is chosen in its group."""
    group, *names = key.split(".")
    if isinstance(chosen, Mapping):
        name, *names = names or [""]
        if name not in chosen or not names:
            raise FrameworkError(
                f"'{key}' is not a setting of a chosen option. Valid in {group}: {', '.join(chosen) or 'none'}."
            )
        chosen = chosen[name]
    if names:
        return dataclasses.replace(chosen, config=_replaced(chosen.config, names, value, key))
    options = current().plugins.components(group)
    if str(value) not in options:
        raise FrameworkError(unknown(group, str(value), options))
    return dataclasses.replace(chosen, component=options[str(value)], config=options[str(value)].schema())


def _replaced(config: Any, names: Sequence[str], value: Any, key: str) -> Any:
    """Return the settings of an option with the field changed to which the names lead."""
    name, *below = names
    schema: Any = type(config)
    fields_by_name = {field.name: field for field in fields(schema)} if dataclasses.is_dataclass(config) else {}
    if name not in fields_by_name:
        raise FrameworkError(unknown_key(key, fields_by_name, option_name(schema)))
    if below:
        value = _replaced(getattr(config, name), below, value, key)
    elif not _holds(fields_by_name[name].type, value):
        raise FrameworkError(out_of_range(key, value, fields_by_name[name].type))
    elif fields_by_name[name].type.choices and isinstance(value, str):
        value = fields_by_name[name].type.base[value]
    return dataclasses.replace(config, **{name: value})


def _holds(field_type: Type, value: Any) -> bool:
    """Whether a field may have a value; one of several by its name too."""
    if value in field_type.choices:
        return True
    kind = KINDS.get(field_type.base, field_type.base)
    right = value is None or kind is Any or isinstance(value, kind)
    return right and (not isinstance(value, bool) or field_type.base in {bool, Any}) and field_type.holds(value)


def _sets(word: str, key: str) -> bool:
    """Whether a word sets a key, or a field of an option that is replaced."""
    name = word.partition("=")[0].lstrip("+")
    return name == key or ("." not in key and name.startswith(f"{key}."))
