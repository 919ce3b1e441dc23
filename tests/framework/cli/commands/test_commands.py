"""framework/cli/commands/__init__.py: how each command is typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api.component import Component
from framework.api.text import usage
from framework.cli.commands import framework_components
from framework.config.help import help_text

REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "commands.md"


@pytest.mark.parametrize("command", list(framework_components()), ids=lambda command: command.name)
def test_a_command_is_typed_as_its_help_and_the_reference_say(command: Component) -> None:
    start, _, words = usage(command.schema).partition(f" {command.name} ")
    assert start == "python -m framework"
    assert f"## `{command.name} {words}`\n" in REFERENCE.read_text(encoding="utf-8")


def test_the_help_of_the_program_names_all_commands() -> None:
    listed = help_text([]).partition("Commands:")[2]
    for command in framework_components():
        assert f"\n  {command.name} " in listed
