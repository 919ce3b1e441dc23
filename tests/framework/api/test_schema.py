"""Every setting does something, is documented, and has a default that it accepts."""

import ast
import functools
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from framework.api import schema
from framework.api.component import GROUPS
from framework.api.fields import Field, fields
from framework.api.schema import RunConfig
from framework.hooks.session import current
from tests.support.project import project
from tests.support.sources import tree

ROOT = Path(__file__).resolve().parents[3]
EVERYWHERE = (ROOT / "framework", ROOT / "plugins")
HOLDERS = {"asked", "config", "settings", "training"}
"""What the code calls the settings of an option: `self.config.count`, `plan.training.max_steps`."""
RUN_HOLDERS = {"config", "plan", "settings"}
"""What it calls those of the run and of its plan: `plan.settings.objective`, `plan.settings.plan.gpu`."""
GETTERS = {"getattr", "attrgetter"}


def first_party() -> list[Any]:
    """Return `RunConfig`, the bases of the groups, and the schemas of the options in this repository."""
    bases = [group.base for group in GROUPS.values()]
    options = [part.component.schema for group in GROUPS for part in current().plugins.registrations(group).values()]
    ours = [option for option in options if Path(inspect.getfile(option)).is_relative_to(ROOT / "plugins")]
    return [RunConfig, schema.PlanConfig, *bases, *ours]


@functools.cache
def reads(*folders: Path) -> set[tuple[str, str]]:
    """Return what the code reads: the name that is before the dot, and the name behind it."""
    return set[tuple[str, str]]().union(*(read_by(file) for folder in folders for file in folder.rglob("*.py")))


@functools.cache  # the file of a plugin is one of its folder, and one of all
def read_by(file: Path) -> set[tuple[str, str]]:
    """Return the same of a file."""
    return set(_reads(file))


def _reads(file: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield last_name(node.value), node.attr
        elif isinstance(node, ast.Call) and last_name(node.func) in GETTERS:
            held = last_name(node.args[0]) if node.args else ""
            names = [part.value for part in node.args if isinstance(part, ast.Constant)]
            yield from ((held, name) for name in names if isinstance(name, str))


def last_name(node: ast.expr) -> str:
    return getattr(node, "attr", getattr(node, "id", ""))


def package(owner: type) -> Path:
    """Return the folder of a plugin: a room of it may read what another one declares."""
    folder = Path(inspect.getfile(owner)).parent
    return next((each for each in (folder, *folder.parents) if each.parent.name == "framework_plugins"), folder)


@functools.cache
def source(config: type) -> str:
    """Return the source of a class and of what it is derived from."""
    return "".join(source_of(base) for base in _written(config) if "framework" in base.__module__)


source_of = functools.cache(inspect.getsource)


def reads_itself(config: type, name: str) -> bool:
    """Whether an option's own methods read a setting, or hand all of them on."""
    own = source(config)
    return f"self.{name}" in own or "dataclasses.fields(self)" in own


def _written(config: type) -> Iterator[type]:
    """Give the classes that a schema consists of, except one that is made of a metric, which has no source."""
    return (base for base in config.__mro__ if base.__qualname__.isidentifier())


def unread(config: Any, everywhere: Sequence[Path] = EVERYWHERE) -> list[str]:
    """Return the fields that nothing reads: one of a base anywhere, one of an option in its own package."""
    found = []
    for field in fields(config):
        owner = next(base for base in reversed(config.__mro__) if field.name in inspect.get_annotations(base))
        folders = everywhere if owner.__module__ == schema.__name__ else [package(owner)]
        holders = RUN_HOLDERS if owner in {RunConfig, schema.RunSettings, schema.PlanConfig} else HOLDERS
        if reads_itself(config, field.name):
            continue
        if not any((holder, field.name) in reads(*folders) for holder in holders):
            found.append(f"{owner.__name__}.{field.name}")
    return found


def test_every_setting_is_read() -> None:
    found = [name for config in first_party() for name in unread(config)]
    assert not found, f"nothing reads {', '.join(found)}: remove the setting, or read it of one of {sorted(HOLDERS)}"


def settings() -> list[Field]:
    return [field for config in first_party() for field in fields(config)]


def test_every_setting_is_documented_and_accepts_its_default() -> None:
    own = [field for field in settings() if field.schema is not RunConfig or field.name not in GROUPS]
    assert len(own) > 300
    assert [f"{field.schema.__name__}.{field.name}" for field in own if not field.doc] == []
    refused = [field for field in own if not field.required and not field.accepts(field.default)]
    assert [f"{field.schema.__name__}.{field.name}" for field in refused] == []


def test_every_schema_is_a_documented_dataclass_that_can_be_changed() -> None:
    assert [config.__name__ for config in first_party() if not inspect.getdoc(config)] == []
    frozen = [config.__name__ for config in first_party() if vars(config)["__dataclass_params__"].frozen]
    assert frozen == [], "Hydra refuses to override what is frozen"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("x" * 300, "x" * 300),
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb", "a\nb"),
        ("a\u202eb", r"a\u202eb"),
        ("../b", "../b"),
        ("ü" * 65, "ü" * 65),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_with_the_valid_form(name: str, shown: str, tmp_path: Path) -> None:
    done = project(tmp_path).run("+experiment=quickstart", f"name='{name}'", "stages=[plan]")
    assert (done.code, done.out, [*tmp_path.iterdir()]) == (2, "", [])
    valid = "must be text of at most 128 bytes, without slashes or control characters"
    assert f"name={shown} {valid}" in done.err
    assert "\x1b" not in done.err
    assert "\u202e" not in done.err
