"""The kind of a test is what it costs: a marker that follows from what its code, its fixtures and its helpers name."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

KINDS = {
    "training": {"torch", "transformers", "peft", "trl", "HFBackend", "HFModel", "PreTrainedModel"},
    "program": {"subprocess", "Forks", "multiprocessing", "multiprocess", "fork", "spawn"},
    "in_process": {"compose", "make_plan", "load_plan", "testing", "run_command", "load_data", "main", "RunFolder"},
}
"""What a test names that is of a kind; the first kind that fits is its own, and `static` the rest."""


def mark(items: list[pytest.Item]) -> None:
    """Give each test the marker of its kind."""
    for item in items:
        item.add_marker(kind_of(item) if isinstance(item, pytest.Function) else "static")


def kind_of(item: pytest.Function) -> str:
    """Return the kind of a test."""
    fixtures = (definition.func for defs in item._fixtureinfo.name2fixturedefs.values() for definition in defs)  # noqa: SLF001
    return kind(frozenset().union(*map(reached, (item.function, *fixtures))))


def kind(names: frozenset[str]) -> str:
    """Return the kind of what names these."""
    return next((kind for kind, kind_names in KINDS.items() if kind_names & names), "static")


@functools.cache
def reached(start: Any) -> frozenset[str]:
    """Return the names in a function, and in what it names of `tests`; of a class, in the methods that are named."""
    todo, visited, names, classes = [start], set(), set[str](), list[type]()
    while todo:
        target = inspect.unwrap(todo.pop())
        if target in visited:
            continue
        visited.add(target)
        if inspect.isclass(target):
            classes.append(target)
        elif inspect.isfunction(target):
            code_names = {name for code in nested(target.__code__) for name in code.co_names}
            names |= code_names
            values = (target.__globals__[name] for name in code_names & target.__globals__.keys())
            todo += [value for value in values if callable(value) and is_ours(value)]
        if not todo:
            methods = (
                part for class_ in classes for name, part in vars(class_).items() if name in {*names, "__init__"}
            )
            todo = [part for part in methods if inspect.isfunction(part) and part not in visited]
    return frozenset(names)


def is_ours(value: Any) -> bool:
    """Whether something is defined in the tests, or in a benchmark that they import."""
    return str(getattr(value, "__module__", "")).partition(".")[0] in {"tests", "benchmarks", "framework_gpu_tests"}


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)
