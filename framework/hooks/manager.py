"""The plugin manager: loads plugins and collects what they register.

Plugins are found in the entry-point group `framework` and in the files that the user names (`local_file.py`), nowhere
else. What a plugin gets wrong is told with its name and the way to switch it off, and the rest goes on.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy
from omegaconf import DictConfig, OmegaConf

from framework.api.component import ALL_GROUPS, COMMANDS, GROUPS, Component, Group, groups_of
from framework.api.plan import Selection
from framework.hooks import hookspecs
from framework.hooks.decorators import Decorated, clashes, collect
from framework.hooks.validation import COMPONENTS, label, wrong_component, wrong_hooks
from framework.util.errors import FrameworkError, one_line, place, told

DISABLE = "FRAMEWORK_DISABLE_PLUGINS"
WHOLE = "the plugin"
"""`LeftOut.what` where nothing of a plugin is used."""
DEFAULT_PLUGINS = {
    "core": "framework.cli.commands",
    "core.data": "framework.data.checks",
    "core.monitor": "framework.monitor.checks",
    "journal": "framework.rundir.status",
}
"""The core's own plugins by name: modules, as text, because they stand in rooms above this one. `journal` alone can be
switched off."""


@dataclass(frozen=True)
class Registration:
    """One option, the plugin that registers it, and where that plugin comes from: `acme 1.2`, or a file."""

    component: Component
    plugin: str
    package: str


@dataclass(frozen=True)
class LeftOut:
    """A plugin, or a part of one, that is not used: `what` it is, the `reason`, and the `package` it comes from."""

    plugin: str
    what: str
    reason: str
    package: str


_packages: dict[str, str] = {}
_left_out: dict[tuple[str, str], LeftOut] = {}


@functools.cache
def manager() -> pluggy.PluginManager:
    """Return the manager with every installed plugin, the core's own hooks included."""
    plugins = pluggy.PluginManager("framework")
    plugins.add_hookspecs(hookspecs)
    for name, module in DEFAULT_PLUGINS.items():
        if name.startswith("core") or name not in disabled():
            plugins.register(importlib.import_module(module), name=name)
    # Of two plugins with one name the first is taken: ours, else the one whose distribution comes first.
    for entry in sorted(entry_points(group="framework"), key=lambda entry: (entry.name, *_distribution(entry))):
        if entry.name in disabled():
            continue
        if plugins.has_plugin(entry.name):
            _leave_out_second(entry)
        else:
            _load(plugins, entry)
    return plugins


def _distribution(entry: EntryPoint) -> tuple[bool, str]:
    name = entry.dist.name if entry.dist else ""
    return name != "framework", name


def disabled() -> set[str]:
    """Return the names of the plugins that the user has switched off."""
    return {name for word in os.environ.get(DISABLE, "").split(",") if (name := word.strip())}


def left_out() -> list[LeftOut]:
    """Return what is not used because it is broken."""
    return list(_left_out.values())


def package(plugin: str) -> str:
    """Return where a plugin comes from: its distribution with the version, or its file."""
    return _packages.get(plugin, "")


def add(module: object, *, name: str, package: str = "") -> None:
    """Register a module, or an object with hooks, as a plugin.

    Raises:
        FrameworkError: a hook is none of ours, or is not written as it is called.
        ValueError: of pluggy, where the name is taken.
    """
    _add(manager(), module, name, package)


def _add(plugins: pluggy.PluginManager, module: object, name: str, package: str) -> None:
    if problems := [*wrong_hooks(module, plugins), *clashes(module)]:
        raise FrameworkError("; ".join(problems))
    plugins.register(module, name=name)
    functions = f"{name}:functions"
    if components := collect(module):
        plugins.register(Decorated(components), name=functions)
    _packages[name] = _packages[functions] = package


def _load(plugins: pluggy.PluginManager, entry: EntryPoint) -> None:
    package = _package_of(entry)
    try:
        _add(plugins, entry.load(), entry.name, package)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module; it is named and left out
        _packages[entry.name] = package
        leave_out(entry.name, WHOLE, error)


def _package_of(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else ""


def _leave_out_second(entry: EntryPoint) -> None:
    """Say that a plugin cannot have a name that is taken. To switch the name off would switch the other off too."""
    reason = f"{package(entry.name) or 'the framework itself'} has a plugin of that name"
    left = LeftOut(entry.name, WHOLE, reason, _package_of(entry))
    _note((entry.name, left.package), left, f"Rename its entry point, '{entry.name} = {entry.value}', or uninstall it")


def leave_out(plugin: str, what: str, error: BaseException | str) -> None:
    """Note that a part of a plugin is not used, and say so once."""
    name = plugin.partition(":")[0]
    reason = error if isinstance(error, str) else told(error)
    _note((name, what), LeftOut(name, what, reason, package(name)), _way_out(name))


def _note(key: tuple[str, str], left: LeftOut, way_out: str) -> None:
    if key in _left_out:
        return
    _left_out[key] = left
    origin = f" of {left.package}" if left.package else ""
    part = "" if left.what == WHOLE else f": {left.what}"
    text = f"plugin '{left.plugin}'{origin}{part} is left out: {left.reason.removesuffix('.')}. {way_out}"
    print(text, file=sys.stderr)  # noqa: T201 - no logger exists yet


def _way_out(plugin: str, it: str = "it") -> str:
    """Say how to do without a plugin: a file is named on the command line."""
    if Path(package(plugin)).is_absolute():
        return f"Leave {it} out of plugins=[…]"
    return f"Switch {it} off: {DISABLE}={plugin}"


def registrations(group: Group | str) -> dict[str, Registration]:
    """Return the options of a group by name, in the order of the names, each with its plugin.

    Raises:
        FrameworkError: one name is registered twice.
    """
    name = group if isinstance(group, str) else group.name
    found: dict[str, Registration] = {}
    schemas: dict[type, str] = {}
    given = _collected(tuple(getattr(manager().hook, COMPONENTS).get_hookimpls()))[name]
    for plugin, component in sorted(given, key=lambda pair: _is_strange(pair[0])):
        option, owner = label(component), plugin.partition(":")[0]
        if component.name in found:
            raise FrameworkError(_taken(option, found[component.name].plugin, owner))
        if component.schema in schemas:
            reason = f"{schemas[component.schema]} has its schema too: subclass it, the class tells options apart"
            leave_out(plugin, option, reason)
            continue
        schemas[component.schema] = f"{option} of {_named(owner)}"
        if (owner, option) not in _left_out:
            found[component.name] = Registration(component, owner, package(owner))
    return dict(sorted(found.items()))


@functools.lru_cache(maxsize=1)
def _collected(implementations: tuple[pluggy.HookImpl, ...]) -> dict[str, list[tuple[str, Component]]]:
    """Ask the plugins for their components and sort these by group; what is none is left out.

    They are asked once, and again when a plugin comes or goes: the hook's implementations are the key of the cache.
    """
    del implementations
    found: dict[str, list[tuple[str, Component]]] = {name: [] for name in ALL_GROUPS}
    for plugin, component in ask(COMPONENTS):
        if reason := wrong_component(component):
            leave_out(plugin, label(component), reason)
            continue
        (group,) = groups_of(component.schema)
        found[group.name].append((plugin, component))
    return found


def _is_strange(plugin: str) -> bool:
    """Whether a plugin comes from elsewhere; what contradicts ours is then the one to blame."""
    return package(plugin).partition(" ")[0] not in {"", "framework"}


def _taken(option: str, first: str, second: str) -> str:
    if first == second:
        return f"{option} is registered twice by the plugin {_named(first)}: give one another name. {_way_out(first)}"
    named = " and ".join(map(_named, sorted([first, second])))
    return f"{option} is registered by two plugins, {named}. {_way_out(second, 'one')}"


def _named(plugin: str) -> str:
    return f"'{plugin}' ({package(plugin)})" if package(plugin) else f"'{plugin}'"


def components(group: Group | str) -> dict[str, Component]:
    """Return the options of a group by name, in the order of the names.

    Raises:
        FrameworkError: one name is registered twice.
    """
    return {name: registration.component for name, registration in registrations(group).items()}


def component_of(schema: type | None) -> Component | None:
    """Return the option of any config group whose settings are of this class; None where it is the class of none."""
    groups = [group for group in GROUPS.values() if isinstance(schema, type) and issubclass(schema, group.base)]
    return next((each for group in groups for each in components(group).values() if each.schema is schema), None)


def selection_of(node: DictConfig) -> Selection:
    """Return the option that a part of a composed config chooses, with its settings.

    Raises:
        FrameworkError: no plugin registers the class of the settings, or that class refuses what is set.
    """
    component = component_of(OmegaConf.get_type(node))
    if component is None:
        raise FrameworkError(f"no plugin registers an option with the settings {OmegaConf.get_type(node)}")
    try:
        return Selection(component, OmegaConf.to_object(node))
    except Exception as error:  # of the dataclass itself: a __post_init__ that refuses
        message = f"the settings of '{component.name}' are refused: {one_line(error)}{place(error)}"
        raise FrameworkError(message) from error


def commands() -> dict[str, Component]:
    """Return the commands by name."""
    return components(COMMANDS)


def ask(hook: str, **arguments: Any) -> Iterator[tuple[str, Any]]:
    """Call a hook of every plugin and give what each returns, item by item, with the plugin's name. A text is one item.

    A plugin that raises is named and passed over; pluggy itself would stop at it. `FrameworkError` is for the caller,
    but not of the hook that registers: then nothing would start, not even a command that another plugin brings.
    """
    for implementation in getattr(manager().hook, hook).get_hookimpls():
        try:
            given = _call(implementation, arguments)
            items: list[Any] = [] if given is None else [given]
            if isinstance(given, Iterable) and not isinstance(given, str):
                items = list(given)
        except (Exception, SystemExit) as error:
            if isinstance(error, FrameworkError) and hook != COMPONENTS:
                raise
            if implementation.plugin_name.startswith("core"):  # a fault of ours, which nobody can switch off
                raise
            leave_out(implementation.plugin_name, hook, error)  # a stranger's code; it is named and left out
            continue
        for item in items:
            yield implementation.plugin_name, item


def notify(hook: str, **arguments: Any) -> None:
    """Call a hook of every plugin for what it does; one that raises, whatever it is, is named and the run goes on."""
    for implementation in getattr(manager().hook, hook).get_hookimpls():
        try:
            _call(implementation, arguments)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
            leave_out(implementation.plugin_name, hook, error)


def _call(implementation: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    return implementation.function(*(arguments[name] for name in implementation.argnames))
