"""`python -m framework plugins`: what is registered."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from framework.commands import PluginsCommandConfig
from framework.component import COMMANDS, GROUPS
from framework.errors import FrameworkError, unknown
from framework.plugins import components


class PluginsCommand:
    """Prints every option of every group, or of the groups named."""

    def __init__(self, config: PluginsCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Print the table."""
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
