"""Every setting and every command that a message of the program recommends exists, with the value or the options."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from framework.api.component import GROUPS
from framework.api.fields import Field, fields
from framework.api.schema import RunConfig
from framework.cli.arguments import INSTEAD_OF_COMMANDS
from framework.cli.main import run_command
from framework.config.compose import conf_dir
from framework.hooks.session import current

ROOT = Path(__file__).parents[2]
PROGRAM = "python -m framework"
COMMAND = re.compile(rf"{PROGRAM} ([^\s`\"][^`\"\n]*)")
HOLE = "\N{HORIZONTAL ELLIPSIS}"
"""In a text, a value that is known at run time."""
SETTING = re.compile(
    r"(?<![\w./{$=\[\N{HORIZONTAL ELLIPSIS}-])([a-z_]+(?:\.[a-z_0-9]+)*)=(\[[^\]]*\]|\{[^}]*\}|[^\s,;:()'\"`\]}]+)"
)
SECTIONS = {field.name: field.type.base for field in fields(RunConfig) if field.name in {"plan", "health", "verdict"}}


BESIDE = {
    ("plugins", "[null]"): "what is refused",
    ("logger", "[clock]"): "registered by the benchmark itself",
}
"""Settings that a plan refuses, or that are not those of a plan."""


@dataclass(frozen=True)
class Advice:
    """A setting in a message."""

    place: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key}={self.value}"


def messages(source: Path) -> Iterator[tuple[int, str]]:
    """Give the texts of a module that are not docstrings, with the line of each."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            values = [part.value if isinstance(part, ast.Constant) else _filled(part) for part in node.values]
            yield node.lineno, "".join(map(str, values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.lineno, node.value


def _filled(part: ast.expr) -> str:
    return PROGRAM if ast.unparse(part) in ("{this_program()}", "f'{this_program()}'") else HOLE


@functools.cache
def texts() -> list[tuple[str, str]]:
    """Return the texts of the program, with the place of each."""
    folders = (ROOT / "framework", ROOT / "plugins" / "framework_plugins")
    sources = {source for folder in folders for source in folder.rglob("*.py")}
    return [
        (f"{source.relative_to(ROOT)}:{line}", text.replace("%s", HOLE))
        for source in sorted(sources - {*(ROOT / "framework" / "testing").rglob("*.py")})
        for line, text in messages(source)
    ]


def advices() -> Iterator[Advice]:
    """Give each setting in each text that names one with its value."""
    for place, text in texts():
        for key, value in SETTING.findall(text):
            if key.partition(".")[0] in {*GROUPS, *SECTIONS, *(each.name for each in fields(RunConfig))}:
                yield Advice(place, key, value.rstrip(".!?"))


def commands() -> Iterator[tuple[str, str, set[str]]]:
    """Give each command of the program in a text, with its place and its options."""
    typed = [(place, words) for place, text in texts() for words in COMMAND.findall(text)]
    for place, words in [*typed, *(("INSTEAD_OF_COMMANDS", words) for words in INSTEAD_OF_COMMANDS.values())]:
        name = words.split()[0].rstrip(".,;:")
        if re.fullmatch(r"[a-z][a-z-]+", name):  # else it begins with an override
            yield place, name, set(re.findall(r"(?<!\S)--[a-z][\w-]*", words))


def settings(key: str) -> list[Field]:
    """Return the fields that a key may mean, one for each option of its group that has it."""
    first, *rest = key.split(".")
    if first in GROUPS:
        options = current().plugins.components(first)
        if GROUPS[first].several and rest:
            option, *rest = rest
            options = {option: options[option]} if option in options else {}
        schemas = [each.schema for each in options.values()]
    elif first in SECTIONS:
        schemas = [SECTIONS[first]]
    else:
        schemas, rest = [RunConfig], [first, *rest]
    found: list[Field] = []
    for name in rest:
        found = [each for schema in schemas for each in fields(schema) if each.name == name]
        if any(each.type.base is dict for each in found):
            return found
        schemas = [
            each.type.base
            for each in found
            if isinstance(each.type.base, type) and hasattr(each.type.base, "__dataclass_fields__")
        ]
    return found


def wrong(advice: Advice) -> bool:
    """Whether a plan would refuse the setting by itself."""
    group = GROUPS.get(advice.key)
    names = re.findall(r"[\w-]+", advice.value)
    if group is not None:
        known = {
            *current().plugins.components(group),
            *(file.stem for file in (conf_dir() / advice.key).glob("*.yaml")),
        }
        return any(name not in known and not name.isupper() for name in names) and HOLE not in advice.value
    found = settings(advice.key)
    if not found:
        return True
    if HOLE in advice.value or re.search(r"[A-Z]{3,}|\{\}|\{[a-z]|^[A-Z]$", advice.value):  # to be filled in
        return False
    if advice.value in {"interval", "choice", "range"}:  # a function of Hydra
        return False
    return not all(_valid(found, text) for text in advice.value.split("|"))


def _valid(found: list[Field], text: str) -> bool:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return any(each.accepts(form) for each in found for form in (value, text))


def test_every_setting_that_a_message_names_is_one_that_a_plan_takes() -> None:
    every = list(advices())
    assert len(every) > 100
    assert [str(each) for each in every if wrong(each) and (each.key, each.value) not in BESIDE] == []


def test_every_command_that_a_message_names_is_one_of_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    every = list(commands())
    assert len({name for _, name, _ in every}) > 5
    helps = dict[str, str]()
    for name in {name for _, name, _ in every} & {*current().plugins.commands()}:
        with pytest.raises(SystemExit):
            run_command(name, ["--help"])
        helps[name] = capsys.readouterr().out
    assert [each for each in every if each[1] not in helps or not all(flag in helps[each[1]] for flag in each[2])] == []
