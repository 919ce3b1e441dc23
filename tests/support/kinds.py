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
    fixtures = (each.func for defs in item._fixtureinfo.name2fixturedefs.values() for each in defs)  # noqa: SLF001
    return kind(frozenset().union(*map(reached, (item.function, *fixtures))))


def kind(names: frozenset[str]) -> str:
    """Return the kind of what names these."""
    return next((kind for kind, own in KINDS.items() if own & names), "static")


@functools.cache
def reached(start: Any) -> frozenset[str]:
    """Return the names in a function, and in what it names of `tests`; of a class, in the methods that are named."""
    todo, seen, names, classes = [start], set(), set[str](), list[type]()
    while todo:
        each = inspect.unwrap(todo.pop())
        if each in seen:
            continue
        seen.add(each)
        if inspect.isclass(each):
            classes.append(each)
        elif inspect.isfunction(each):
            own = {name for code in nested(each.__code__) for name in code.co_names}
            names |= own
            known = (each.__globals__[name] for name in own & each.__globals__.keys())
            todo += [value for value in known if callable(value) and is_ours(value)]
        if not todo:
            methods = (part for each in classes for name, part in vars(each).items() if name in {*names, "__init__"})
            todo = [part for part in methods if inspect.isfunction(part) and part not in seen]
    return frozenset(names)


def is_ours(value: Any) -> bool:
    """Whether something is defined in the tests."""
    return str(getattr(value, "__module__", "")).partition(".")[0] in {"tests", "framework_gpu_tests"}


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of a function, and that of the functions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)
