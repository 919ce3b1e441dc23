"""The plugin manager: loads plugins from the entry-point group `framework` and collects what they register.

A plugin that fails to load is named, with the way to switch it off, and the rest goes on.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib.metadata import EntryPoint, entry_points

import pluggy

from framework import hookspecs
from framework.component import COMMANDS, GROUPS, Component, Group
from framework.errors import FrameworkError, one_line

DISABLE = "FRAMEWORK_DISABLE_PLUGINS"


@functools.cache
def manager() -> pluggy.PluginManager:
    """Return the manager with every installed plugin, the core's own commands included."""
    from framework import commands  # noqa: PLC0415 - commands lists components, which needs this module

    plugins = pluggy.PluginManager("framework")
    plugins.add_hookspecs(hookspecs)
    plugins.register(commands, name="core")
    disabled = {name.strip() for name in os.environ.get(DISABLE, "").split(",")}
    for entry in sorted(entry_points(group="framework"), key=lambda entry: entry.name):
        if entry.name not in disabled and not plugins.has_plugin(entry.name):
            _load(plugins, entry)
    return plugins


def _load(plugins: pluggy.PluginManager, entry: EntryPoint) -> None:
    try:
        plugins.register(entry.load(), name=entry.name)
        plugins.check_pending()
    except Exception as error:  # noqa: BLE001 - a stranger's module may raise anything; it is named and left out
        if plugins.has_plugin(entry.name):
            plugins.unregister(name=entry.name)
        package = f" of {entry.dist.name} {entry.dist.version}" if entry.dist else ""
        print(  # noqa: T201 - no logger exists yet
            f"plugin '{entry.name}'{package} is left out: {one_line(error)}. Switch it off: {DISABLE}={entry.name}",
            file=sys.stderr,
        )


def components(group: Group | str) -> dict[str, Component]:
    """Return the options of a group by name, in the order of the names.

    Raises:
        FrameworkError: two plugins register one name.
    """
    group = GROUPS[group] if isinstance(group, str) else group
    found: dict[str, tuple[Component, str]] = {}
    for implementation in getattr(manager().hook, group.hook).get_hookimpls():
        for component in implementation.function():
            if component.name in found:
                message = (
                    f"{group.name} '{component.name}' is registered by two plugins, '{found[component.name][1]}' and "
                    f"'{implementation.plugin_name}'. Switch one off: {DISABLE}={implementation.plugin_name}"
                )
                raise FrameworkError(message)
            found[component.name] = (component, implementation.plugin_name)
    return {name: component for name, (component, _) in sorted(found.items())}


def commands() -> dict[str, Component]:
    """Return the commands by name."""
    return components(COMMANDS)
