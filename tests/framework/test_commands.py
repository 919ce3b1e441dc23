"""The core's own commands are components like everyone's."""

import pytest

from framework import FrameworkError
from framework.cli import run_command
from framework.plugins import commands
from framework.protocols import Command


def test_every_command_satisfies_the_protocol() -> None:
    made = [component.load()(component.schema()) for component in commands().values()]
    assert made
    assert all(isinstance(command, Command) for command in made)


def test_plugins_shows_name_summary_and_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("plugins", ["exporter", "command"]) == 0
    heading, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert heading == ["group", "option", "what", "it", "is", "from"]
    assert {tuple(row[:2]) for row in rows} >= {("exporter", "adapter"), ("command", "plugins")}


@pytest.mark.parametrize(("name", "words"), [("plugns", []), ("plugins", ["exportr"])])
def test_an_unknown_command_or_group_is_told_with_the_nearest(name: str, words: list[str]) -> None:
    with pytest.raises(FrameworkError, match=r"Did you mean '(plugins|exporter)'"):
        run_command(name, words)
