"""What can be chosen: the options of each group with where they come from and what they need, presets, experiments.

An option is code that a plugin registers. A preset is a YAML file, below `conf/`, of a plugin or of the user, that is
built on an option; an experiment is one with choices and values. `python -m framework plugins` and the generated
reference both read them here.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.default_element import ConfigDefault, GroupDefault
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from framework.api.component import UNCONFIGURED, Component, Group
from framework.api.fields import Field, as_text, fields
from framework.api.selection import as_plain
from framework.config.compose import EXPERIMENT, register
from framework.config.sources import entries, read_value_sources, source_lines
from framework.hooks.manager import Registration
from framework.hooks.session import current
from framework.util.errors import display_path, summarize_error
from framework.util.versions import DISTRIBUTION, VERSION

NO_SUMMARY = ("@package", "python -m framework", "yaml-language-server:")


@dataclass(frozen=True)
class Option:
    """One option: the plugin and the package it comes from, what it needs that is missing, and what installs that."""

    component: Component
    plugin: str
    package: str
    missing: tuple[str, ...]
    install: str

    @property
    def name(self) -> str:
        """What the user writes."""
        return self.component.name

    @property
    def doc(self) -> str:
        """The whole docstring of the schema."""
        return inspect.cleandoc(self.component.schema.__doc__ or "")

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {
            "summary": self.component.summary,
            "package": self.package,
            "plugin": self.plugin,
            "factory": self.component.factory,
            "needs": list(self.component.extras),
            "missing": list(self.missing),
            "install": self.install,
        }


@dataclass(frozen=True)
class Preset:
    """One preset: the first comment in its file, the options that it is built on, and the file."""

    name: str
    summary: str
    options: tuple[str, ...]
    file: str

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {"summary": self.summary, "preset_of": list(self.options), "file": self.file}


@dataclass(frozen=True)
class Setting:
    """One field of an option. `name` has dots where the field is in a group of its own; `value` is plain data."""

    name: str
    field: Field
    value: Any

    @property
    def required(self) -> bool:
        """Whether the user has to set it."""
        return isinstance(self.value, str) and self.value == MISSING

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {
            "name": self.name,
            "type": self.field.type.name,
            "valid": self.field.valid,
            "required": self.required,
            "default": None if self.required else self.value,
            "doc": self.field.doc,
        }


@dataclass(frozen=True)
class Experiment:
    """One experiment: the first comment in its file, and the file."""

    name: str
    summary: str
    file: str

    @property
    def plain(self) -> dict[str, Any]:
        """It as JSON has it."""
        return {"summary": self.summary, "file": self.file}


def options(group: Group) -> dict[str, Option]:
    """Return the options of a group by name."""
    register(current())  # which leaves out what no config can hold
    return {name: _option(registration) for name, registration in current().plugins.registrations(group).items()}


def _option(registration: Registration) -> Option:
    from framework.util.requirements import missing, pip_command  # noqa: PLC0415 - every plan imports this module

    component = registration.component
    try:
        needed = [extra for extra in component.extras if missing([extra])]
        names = missing(needed)
    except ValueError as error:  # no requirement at all; pip will say the same
        needed, names = list(component.extras), [summarize_error(error)]
    return Option(component, registration.plugin, origin(registration), tuple(names), pip_command(needed))


def origin(registration: Registration) -> str:
    """Return where an option comes from: its distribution with the version, or its file."""
    if registration.package.endswith(".py"):
        return display_path(Path(registration.package))
    # The core registers its commands without a distribution.
    is_ours = registration.component.factory.startswith("framework.")
    return registration.package or (f"{DISTRIBUTION} {VERSION}" if is_ours else registration.plugin)


def presets(group: Group, loader: ConfigLoader) -> dict[str, Preset]:
    """Return the presets of a group by name."""
    if group.name in UNCONFIGURED:
        return {}
    names = set(loader.get_group_options(group.name)) - current().plugins.registrations(group).keys()
    return {name: _preset(loader, group, name) for name in sorted(names)}


def _preset(loader: ConfigLoader, group: Group, name: str) -> Preset:
    try:
        lines = [(file, line) for file, _, line in source_lines(loader, f"{group.name}/{name}")]
        bases = tuple(dict.fromkeys(_base_options(loader, group, name, ())))
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return Preset(name, f"cannot be read: {summarize_error(error)}", (), "")
    return Preset(name, _summary([line for _, line in lines]), bases, lines[0][0] if lines else "")


def experiments(loader: ConfigLoader) -> dict[str, Experiment]:
    """Return the experiments by name: the framework's, those of plugins, and the user's."""
    return {name: _experiment(loader, name) for name in sorted(loader.get_group_options(EXPERIMENT))}


def _experiment(loader: ConfigLoader, name: str) -> Experiment:
    try:
        lines = [(file, line) for file, _, line in source_lines(loader, f"{EXPERIMENT}/{name}")]
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        return Experiment(name, f"cannot be read: {summarize_error(error)}", "")
    return Experiment(name, _summary([line for _, line in lines]), lines[0][0] if lines else "")


def experiment_settings(loader: ConfigLoader, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what an experiment chooses, options by groups, and what it sets, values by keys.

    Both include what the experiments that it is built on choose and set.
    """
    choices: dict[str, str] = {}
    files: set[str] = {file for file, _, _ in source_lines(loader, f"{EXPERIMENT}/{name}")}
    _collect_choices(loader, name, choices, files)
    sources = read_value_sources(loader, [f"+{EXPERIMENT}={name}"])
    return choices, {
        setting.key: setting.value for setting in sources.settings if setting.where.rpartition(":")[0] in files
    }


def _collect_choices(loader: ConfigLoader, name: str, choices: dict[str, str], files: set[str]) -> None:
    """Add the choices of an experiment to `choices`, after those of its bases, and the files of all to `files`."""
    for entry, where in entries(loader, f"{EXPERIMENT}/{name}"):
        files.add(where.rpartition(":")[0])
        if isinstance(entry, GroupDefault):
            choices[str(entry.group).lstrip("/")] = as_text(entry.value)
        elif isinstance(entry, ConfigDefault) and not entry.is_self():
            _collect_choices(loader, str(entry.path).rpartition("/")[2], choices, files)


def _summary(lines: Sequence[str]) -> str:
    """Return the first comment of a file that says what it is for."""
    comments = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    return next((comment for comment in comments if comment and not comment.startswith(NO_SUMMARY)), "")


def _base_options(loader: ConfigLoader, group: Group, name: str, above: tuple[str, ...]) -> Iterator[str]:
    """Yield the options that a preset is built on, directly or by other presets."""
    if name in current().plugins.registrations(group):
        yield name
    elif name not in above:  # presets may be built on each other in a circle
        loaded = loader.repository.load_config(f"{group.name}/{name}")
        for base in (loaded.defaults_list or []) if loaded else []:
            if isinstance(base, ConfigDefault) and not base.is_self():
                yield from _base_options(loader, group, str(base.path).rpartition("/")[2], (*above, name))


def preset_settings(group: Group, config: DictConfig) -> Iterator[Setting]:
    """Give the settings of what a preset is built on, with the values that it sets; `config` is composed with it."""
    node = config[group.name]
    for key, part in node.items() if group.several else [("", node)]:
        schema = OmegaConf.get_type(part)
        if dataclasses.is_dataclass(schema):
            values: Any = OmegaConf.to_container(part, enum_to_str=True)
            yield from settings(schema, values, f"{key}." if key else "")


def settings(schema: Any, values: Mapping[str, Any] | None = None, prefix: str = "") -> Iterator[Setting]:
    """Give the fields of a schema with their defaults or other values, those of nested dataclasses by dotted names."""
    for field in fields(schema):
        value = as_plain(field.default if values is None else values[field.name])
        inner = field.type.items or field.type
        if field.type.items is not None or not dataclasses.is_dataclass(inner.base):
            yield Setting(f"{prefix}{field.name}", field, value)
        if dataclasses.is_dataclass(inner.base):
            below = value if field.type.items is None and value not in (None, MISSING) else None
            yield from settings(inner.base, below, f"{prefix}{field.name}{'[]' if field.type.items else ''}.")
