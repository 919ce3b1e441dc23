"""Settings that nothing reads: a user sets them, and nothing changes.

The source of the plugin's package is searched for `….name` and `getattr(…, "name")`. A field of another class with the
same name counts too, so not every unread setting is found. At run time, a read is visible only in a run of the
component, and a plain search for the name finds its own declaration.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TypeGuard

from framework.testing.checks.hooks import Offer
from framework.util.hashing import package_of

READS_EVERY_FIELD = {"asdict", "astuple", "vars", "fields"}
"""Functions that read all settings at once, if they are called with a config."""
CONFIGS = frozenset({"config", "settings", "options", "cfg"})
GETTERS = {"getattr", "attrgetter"}


def problems(offers: Sequence[Offer], module: ModuleType) -> Iterator[str]:
    """Name each setting of the plugin's own schemas that no code of the plugin reads."""
    files = sources(module, offers)
    owners = {owner for offer in offers for owner in offer.component.schema.__mro__ if dataclasses.is_dataclass(owner)}
    schemas = {(Path(inspect.getfile(owner)).resolve(), owner.__name__) for owner in owners if _file(owner.__module__)}
    trees = {file: ast.parse(file.read_text(encoding="utf-8")) for file in files}
    read = {name for file, tree in trees.items() for name in _reads(tree, {n for f, n in schemas if f == file})}
    self_readers = {node.name for tree in trees.values() for node in ast.walk(tree) if _takes_itself(node)}
    reported: set[tuple[type, str]] = set()
    for offer in offers:
        home, _, attribute = offer.component.factory.partition(":")
        if (tree := trees.get(_file(home) or Path())) and _takes_all(tree, attribute.partition(".")[0]):
            continue
        if self_readers & {owner.__name__ for owner in offer.component.schema.__mro__ if owner in owners}:
            continue
        for owner, name in _own_fields(offer.component.schema, files):
            if name not in read and (owner, name) not in reported:
                reported.add((owner, name))
                yield f"{offer}: nothing in {package_of(module.__name__)} reads {owner.__name__}.{name}"


def sources(module: ModuleType, offers: Sequence[Offer]) -> set[Path]:
    """Return the Python files of the packages that hold the hooks and the factories; the framework's are left out."""
    names = {module.__name__, *(offer.component.factory.partition(":")[0] for offer in offers)}
    files: set[Path] = set()
    for name in names:
        if name.partition(".")[0] == "framework":
            continue
        parts = name.split(".")
        start = package_of(name).count(".") + 1
        packages = [".".join(parts[:end]) for end in range(start, len(parts) + 1)]
        roots = [file.parent for package in packages if (file := _file(package)) and file.name == "__init__.py"]
        file = _file(name)
        files |= set(roots[0].rglob("*.py")) if roots else {file} if file else set()
    return files


def _file(name: str) -> Path | None:
    """Return the source file of a module that may be imported already."""
    module = sys.modules.get(name)
    try:
        spec = None if module else importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    origin = getattr(module, "__file__", None) if module else spec.origin if spec else None
    return Path(origin).resolve() if origin and origin.endswith(".py") else None


def _own_fields(schema: type, files: set[Path]) -> Iterator[tuple[type, str]]:
    """Give the fields that the plugin's own classes declare; one that only has another default is read as before."""
    for field in dataclasses.fields(schema):
        declare = (base for base in reversed(schema.__mro__) if field.name in vars(base).get("__annotations__", {}))
        owner = next(declare, schema)
        if _file(owner.__module__) in files:
            yield owner, field.name


def _reads(tree: ast.AST, schemas: set[str]) -> Iterator[str]:
    """Give every name that is read as an attribute; of a schema's own class only what its methods read."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef) and node.name in schemas:
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            for method in methods:
                yield from _reads(method, schemas) if not method.name.startswith("__") else ()
            continue
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            yield node.attr
        elif isinstance(node, ast.MatchClass):
            yield from node.kwd_attrs
        elif isinstance(node, ast.Call) and _called(node) in GETTERS:
            yield from (part.value for part in node.args if isinstance(part, ast.Constant) and type(part.value) is str)
        yield from _reads(node, schemas)


def _called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def _takes_all(tree: ast.Module, factory: str) -> bool:
    """Whether a factory, or a base of it in the same module, hands its whole config on, so that no reading is seen."""
    definitions: list[ast.AST] = [node for node in tree.body if getattr(node, "name", "") == factory]
    for node in definitions:
        bases = [base.id for base in getattr(node, "bases", []) if isinstance(base, ast.Name)]
        definitions += [
            statement
            for statement in tree.body
            if getattr(statement, "name", "") in bases and statement not in definitions
        ]
    return any(_hands_on(part) for node in (definitions or [tree]) for part in ast.walk(node))


def _takes_itself(node: ast.AST) -> TypeGuard[ast.ClassDef]:
    """Whether a method of a class reads all fields of its object."""
    return isinstance(node, ast.ClassDef) and any(_hands_on(part, frozenset({"self"})) for part in ast.walk(node))


def _hands_on(node: ast.AST, configs: frozenset[str] = CONFIGS) -> bool:
    if isinstance(node, ast.Call) and _called(node) in READS_EVERY_FIELD and node.args:
        argument = node.args[0]
        return getattr(argument, "attr", getattr(argument, "id", "")) in configs
    return configs is CONFIGS and isinstance(node, ast.Attribute) and node.attr == "__dict__"
