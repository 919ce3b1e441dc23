"""A `Component` is one option of one config group: its settings, and where its code is.

    Component("exact_match", ExactMatchConfig, "framework_plugins.evals.metrics.exact_match:ExactMatch")

The core gives `schema` to Hydra as the option `group/name` and imports `factory` only when a run needs it, so
`--help` and a typo never load torch. The base class of the schema says which group it is: a new group needs a line in
`GROUPS` and a base class in `schema.py`, and no hook.
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pluggy

from framework.api import schema
from framework.util.errors import FrameworkError, error_location, of_the_system, summarize_error
from framework.util.guard import Caught

__all__ = ["GROUPS", "SPEAKERS", "Component", "Group", "hookimpl"]

hookspec = pluggy.HookspecMarker("framework")
"""Marks the definitions in `framework/hooks/hookspecs.py`."""
hookimpl = pluggy.HookimplMarker("framework")
"""`@hookimpl` marks a function that implements the hook of its name."""


@dataclass(frozen=True)
class Group:
    """A config group: the base classes of its schemas and of what is made, and whether a run may choose several."""

    name: str
    base: type
    product_name: str
    several: bool = False

    @property
    def product(self) -> type:
        """The base class of what is made, by its name: the protocols know a plan, and so the groups."""
        product: type = getattr(importlib.import_module("framework.api.protocols"), self.product_name)
        return product


GROUPS = {
    group.name: group
    for group in (
        Group("model", schema.ModelConfig, "ModelSource"),
        Group("quantization", schema.QuantizationConfig, "Quantization"),
        Group("adapter", schema.AdapterConfig, "Adapter"),
        Group("data", schema.DataConfig, "Source"),
        Group("format", schema.FormatConfig, "Formatter"),
        Group("audit", schema.AuditConfig, "Audit", several=True),
        Group("method", schema.MethodConfig, "Method"),
        Group("loss", schema.LossConfig, "Objective"),
        Group("trainer", schema.TrainerConfig, "Backend"),
        Group("optimizer", schema.OptimizerConfig, "OptimizerFactory"),
        Group("schedule", schema.ScheduleConfig, "Schedule"),
        Group("sampler", schema.SamplerConfig, "Sampler"),
        Group("callback", schema.CallbackConfig, "Callback", several=True),
        Group("launch", schema.LaunchConfig, "Launcher"),
        Group("metric", schema.MetricConfig, "Metric", several=True),
        Group("rollout", schema.RolloutConfig, "Rollout"),
        Group("reward", schema.RewardConfig, "Reward", several=True),
        Group("evaluator", schema.EvaluatorConfig, "Evaluator", several=True),
        Group("exporter", schema.ExporterConfig, "Exporter", several=True),
        Group("logger", schema.LoggerConfig, "Logger", several=True),
    )
}
COMMANDS = Group("command", schema.CommandConfig, "Command")
SPEAKERS = Group("speaker", schema.SpeakerConfig, "SpeakerSource")
"""Custom chat backends, `chat RUN_DIR --NAME`."""
UNCONFIGURED = {group.name: group for group in (COMMANDS, SPEAKERS)}
"""Groups whose options are chosen on the command line; no config chooses among them."""
ALL_GROUPS = {**GROUPS, **UNCONFIGURED}
"""Every group that a component can be in: the base class of its schema says which."""


def groups_of(schema: object) -> list[Group]:
    """Return the groups whose base class a schema subclasses; that of a component subclasses exactly one.

    A base that another one subclasses counts only without that: a reward is a metric, and no option of `metric=`.
    """
    groups = [group for group in ALL_GROUPS.values() if isinstance(schema, type) and issubclass(schema, group.base)]
    return [
        group
        for group in groups
        if not any(group is not derived and issubclass(derived.base, group.base) for derived in groups)
    ]


@dataclass(frozen=True)
class Component:
    """One option of one group.

    Attributes:
        name: what the user writes, `trainer=hf`.
        schema: a dataclass of its own that subclasses the base of one group, which is the group of the component; the
            class tells which component a config is.
        factory: `"package.module:attribute"`; called as `factory(config)`, it returns an object that has what the base
            class of its group has; one that does not subclass it gets its defaults.
        extra: what has to be installed in addition to the plugin, as arguments for pip: `"acme[audio]"`, `"jiwer>=3"`.
            If several commands are needed, a tuple with the arguments of each `pip install`.
        import_order: libraries of which the first patches the others, so that it has to be imported before them:
            `("unsloth", "transformers")`. A run with this option gets a process with that order, a run without it a
            process in which the first was not imported; see `launch/pickled_plan.py`.
    """

    name: str
    schema: type
    factory: str
    extra: str | tuple[str, ...] = ()
    import_order: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """The first line of the schema's docstring."""
        return (self.schema.__doc__ or "").strip().partition("\n")[0]

    @property
    def extras(self) -> tuple[str, ...]:
        """`extra`, always as a tuple."""
        if isinstance(self.extra, str):
            return (self.extra,) if self.extra else ()
        return self.extra

    @property
    def named(self) -> str:
        """The group and the name, for messages: `metric 'bleu'`."""
        groups = groups_of(self.schema)
        return f"{groups[0].name} '{self.name}'" if groups else f"'{self.name}'"

    def load(self) -> Callable[[Any], Any]:
        """Import the factory.

        Raises:
            FrameworkError: a library that it needs is not installed, or the plugin's code is broken or refuses.
        """
        module, _, attribute = self.factory.partition(":")
        failed = Caught(FrameworkError)  # the module's own refusal of this machine, in its own words
        with failed:
            factory: Callable[[Any], Any] = operator.attrgetter(attribute)(importlib.import_module(module))
            return factory
        assert failed.error is not None  # noqa: S101 - nothing was returned
        raise (of_the_system(failed.error) or FrameworkError(self._refusal(failed.error))) from failed.error

    def _refusal(self, error: BaseException) -> str:
        """Say why the factory cannot be imported: a library is missing, or else the plugin is broken."""
        name = (error.name or "") if isinstance(error, ImportError) else ""
        library = name.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and name == library
        named = self.named
        if not library or (library == self.factory.partition(":")[0].partition(".")[0] and not absent):
            return f"{named} cannot be loaded from {self.factory}: {summarize_error(error)}{error_location(error)}"
        from framework.util.requirements import pip_command  # noqa: PLC0415 - urllib.request brings http and ssl

        install = f": {pip_command(self.extras)}" if self.extras else ""
        return f"{named} needs the library '{library}'{install} ({summarize_error(error)})"


def complete(product: Any, base: type) -> Any:
    """Give a product whose class does not subclass the base of its group the defaults that it does not have.

    Raises:
        FrameworkError: its class cannot be changed.
    """
    kind, protocols = type(product), importlib.import_module("framework.api.protocols")
    if base is protocols.Reward and not hasattr(product, "rewards"):  # a metric is one
        base = protocols.Metric
    if not {base, protocols.AnswerMetric} & {*kind.__mro__}:
        for name, default in vars(base).items():
            if name.startswith("_") or getattr(default, "__isabstractmethod__", False) or hasattr(product, name):
                continue
            try:
                setattr(kind, name, default)
            except TypeError as error:
                raise FrameworkError(
                    f"a {kind.__name__} has no '{name}': subclass framework.api.{base.__name__}"
                ) from error
    return product
