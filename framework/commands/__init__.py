"""The core's own commands. They are components like everyone's, registered by this module as the plugin `core`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from framework.component import Component
from framework.hookspecs import hookimpl
from framework.schema import CommandConfig


@dataclass
class PluginsCommandConfig(CommandConfig):
    """List what can be chosen, from which package, and whether its libraries are here: `plugins [GROUP [OPTION]]`."""


@hookimpl
def framework_commands() -> Iterable[Component]:
    """Register the core's commands."""
    yield Component("plugins", PluginsCommandConfig, "framework.commands.plugins:PluginsCommand")
