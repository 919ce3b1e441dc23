"""The commands of the core and of the first-party plugins: each says how it is typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.hooks.session import current
from tests.support.project import project

SHOUT = """
from dataclasses import dataclass
from framework import Component, hookimpl
from framework.api.schema import CommandConfig

@dataclass
class ShoutConfig(CommandConfig):
    '''Shout, for $5.'''

@hookimpl
def framework_components():
    yield Component("shout", ShoutConfig, "shout:Shout")
"""
REFERENCE = Path(__file__).parents[4] / "docs" / "reference" / "commands.md"


@pytest.fixture(params=sorted(current().plugins.commands()))
def command(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_help_of_a_command_says_what_it_does_and_explains_each_option(command: str, tmp_path: Path) -> None:
    result = project(tmp_path).run(command, "--help")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(f"usage: python -m framework {command} [-h]")
    assert current().plugins.commands()[command].summary in result.out
    section = REFERENCE.read_text(encoding="utf-8").partition(f"\n## `{command} ")[2].partition("\n## ")[0]
    assert section
    for name in re.findall(r"^  (?:-h, )?(--[\w-]+|[A-Z_.=]+)", result.out, re.MULTILINE):
        assert re.search(rf"^  (-h, )?{name}( .*)?\s+\S", result.out, re.MULTILINE), f"{name} has no help"
        if name.startswith("--") and name != "--help":
            assert name in REFERENCE.read_text(encoding="utf-8")


def test_an_unknown_option_is_refused_with_the_nearest_and_the_usage(command: str) -> None:
    component = current().plugins.commands()[command]
    none = dict.fromkeys(("plugins", "doctor", "plan-table", "bench-gpu", "test-gpu"), 0)
    words = ["RUN"] * ({"diff": 2} | none).get(command, 1)
    with pytest.raises(FrameworkError, match=r"^unknown option '--hel'. Did you mean '--help'\? .* Usage: python -m "):
        component.load()(component.schema()).main([*words, "--hel"])


def test_a_wrong_first_argument_is_one_line_and_exit_code_2(command: str, tmp_path: Path) -> None:
    result = project(tmp_path).run(command, "/dev/null")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)


def test_the_help_of_the_program_lists_the_commands_of_the_plugins_that_are_used(tmp_path: Path) -> None:
    file = tmp_path / "shout.py"
    file.write_text(SHOUT, encoding="utf-8")
    off = {"FRAMEWORK_DISABLE_PLUGINS": "chat"}
    listed = project(tmp_path, env=off).run("--help", f"plugins=[{file}]").out.partition("Commands:")[2]
    lines = dict(re.findall(r"^  ([\w-]+) +(.+)", listed, re.MULTILINE))
    assert lines.pop("shout").split("  ")[-1] == "Shout, for $5"
    assert lines.keys() == current().plugins.commands().keys() - {"chat"}
    assert lines["diff"].startswith("RUN_A RUN_B  ")
