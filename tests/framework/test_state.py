"""No state in module globals: what a process holds is a `Session`, which `cli.main` makes."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import framework
from tests.support import sources

ROOT = Path(framework.__file__).parent
MUTATING = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "sort", "update",
}  # fmt: skip
CACHES = {"cache", "lru_cache", "cached"}
READS_ONLY = {
    "api/fields.py:_one_field_schema": "a field of a class",
    "api/fields.py:_docs": "docstrings in the source of a class",
    "api/fields.py:fields": "the fields of a class",
    "api/records/saving.py:_converter": "nothing: what makes records of JSON",
    "config/compose.py:_run_template": "the schema of a run",
    "config/compose.py:_template": "a schema, which is a class",
    "config/user_source.py:_own_file": "files of an installation, which stay as they are",
    "config/user_source.py:_in_package": "files of an installation, which stay as they are",
    "config/user_source.py:_package_file": "files of an installation, which stay as they are",
    "hooks/manager.py:_named": "the name and the version of what is installed",
    "rundir/environment.py:_by_module": "what is installed",
    "rundir/environment.py:_named": "the name and the version of what is installed",
    "rundir/environment.py:checkouts": "what is installed",
    "rundir/environment.py:own_commit": "the commit of the code that runs",
    "testing/composition.py:_composed": "our own config files; what else counts is a part of the key",
    "util/gpus.py:_counted": "the GPUs of the machine, for each PATH",
    "util/hashing.py:source_hash": "source files, which stay as they are while they run",
    "util/prompt_clusters.py:_same_letters": "letters of Unicode",
    "util/power.py:least_difference": "nothing: a sum over binomials, which takes a second",
    "util/redact.py:_held": "whether a secret is the path of a file; all else is a part of the key",
    "util/redact.py:_is_variable": "nothing: a name",
}
"""Functions with a cache, and what they read: it does not change while a process lives."""


def mutations(tree: ast.Module) -> Iterator[str]:
    """Give each place of a module where a function rebinds or mutates one of its globals."""
    own = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    modules = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("framework")
        for alias in node.names
    }
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.Lambda)):
        used = (node for node in ast.walk(function) if isinstance(node, ast.Name))
        local = {node.id for node in used if isinstance(node.ctx, ast.Store)}
        local |= {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}
        shared = own - local
        for node in ast.walk(function):
            match node:
                case ast.Global(names=names):
                    yield f"{node.lineno}: global {', '.join(names)}"
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in shared:
                    yield f"{node.lineno}: {name}[…] is set"
                case ast.Attribute(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()) if name in shared | (
                    modules - local
                ):
                    yield f"{node.lineno}: {name}.{node.attr} is set"
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if (
                    name in shared and method in MUTATING
                ):
                    yield f"{node.lineno}: {name}.{method}()"


def cached(tree: ast.Module) -> Iterator[str]:
    """Give the name of each function of a module that has a cache for the whole process."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = {
                part.attr if isinstance(part, ast.Attribute) else part.id
                for decorator in node.decorator_list
                for part in [decorator.func if isinstance(decorator, ast.Call) else decorator]
                if isinstance(part, ast.Attribute | ast.Name)
            }
            if names & CACHES:
                yield node.name


def trees() -> dict[str, ast.Module]:
    """Return the syntax tree of each file of the core by its path."""
    return {path.relative_to(ROOT).as_posix(): sources.tree(path) for path in sorted(ROOT.rglob("*.py"))}


def test_no_function_rebinds_or_mutates_a_module_global() -> None:
    assert [f"{name}:{place}" for name, tree in trees().items() for place in mutations(tree)] == []


def test_only_functions_that_read_what_does_not_change_have_a_cache() -> None:
    assert {f"{name}:{function}" for name, tree in trees().items() for function in cached(tree)} == {*READS_ONLY}


@pytest.mark.parametrize(
    "body",
    [
        "    global kept\n    kept = 1",
        "    kept.append(1)",
        "    kept[0] = 1",
        "    del kept[0]",
        "    kept[0] += 1",
        "    kept.name = 1",
        "    return lambda: kept.pop()",
        "    from framework.util import gpus\n    gpus.CARDS = {}",
    ],
)
def test_each_way_to_change_a_global_is_found(body: str) -> None:
    assert list(mutations(ast.parse(f"kept = []\n\ndef change():\n{body}\n")))


@pytest.mark.parametrize("body", ["    kept = []\n    kept.append(1)", "    return kept[0]", "    return [*kept, 1]"])
def test_reading_and_locals_are_no_change(body: str) -> None:
    assert not list(mutations(ast.parse(f"kept = []\n\ndef change():\n{body}\n")))
