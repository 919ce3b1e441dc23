"""Finds and runs the core's own commands. They are components like everyone's, registered by this module."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from framework.component import COMMANDS, GROUPS, Component
from framework.errors import FrameworkError, unknown
from framework.hookspecs import hookimpl
from framework.schema import CommandConfig


@dataclass
class PluginsCommandConfig(CommandConfig):
    """List what is registered: `plugins [GROUP]`."""


@hookimpl
def framework_commands() -> Iterable[Component]:
    """Register the core's commands."""
    yield Component("plugins", PluginsCommandConfig, "framework.commands:PluginsCommand")


class PluginsCommand:
    """Prints every option of every group, or of the groups named."""

    def __init__(self, config: PluginsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the table."""
        from rich.console import Console  # noqa: PLC0415 - a command is loaded when called
        from rich.table import Table  # noqa: PLC0415

        from framework.plugins import components  # noqa: PLC0415 - plugins loads this module

        groups = {**GROUPS, COMMANDS.name: COMMANDS}
        for name in arguments:
            if name not in groups:
                raise FrameworkError(unknown("group", name, groups))
        table = Table(box=None, pad_edge=False)
        for heading in ("group", "option", "what it is", "from"):
            table.add_column(heading, overflow="fold")
        for group in [groups[name] for name in arguments] or groups.values():
            for component in components(group).values():
                table.add_row(group.name, component.name, component.summary, component.factory.partition(".")[0])
        Console().print(table)
        return 0
