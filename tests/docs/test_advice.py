"""Every setting that a message of the program recommends exists, and has the value that the message gives it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from framework.api.component import GROUPS
from framework.api.fields import Field, fields
from framework.api.schema import RunConfig
from framework.config.compose import conf_dir
from framework.hooks.session import current

ROOT = Path(__file__).parents[2]
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
            values = [part.value if isinstance(part, ast.Constant) else HOLE for part in node.values]
            yield node.lineno, "".join(map(str, values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | parts:
            yield node.lineno, node.value


def advices() -> Iterator[Advice]:
    """Give each setting in each text that names one with its value."""
    for folder in (ROOT / "framework", ROOT / "plugins" / "framework_plugins"):
        for source in sorted(set(folder.rglob("*.py")) - set((ROOT / "framework" / "testing").rglob("*.py"))):
            for line, text in messages(source):
                for key, value in SETTING.findall(text.replace("%s", HOLE)):
                    if key.partition(".")[0] in {*GROUPS, *SECTIONS, *(each.name for each in fields(RunConfig))}:
                        yield Advice(f"{source.relative_to(ROOT)}:{line}", key, value.rstrip(".!?"))


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
