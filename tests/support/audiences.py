"""Which public names the author of an option, a hook or a script meets: those in the signatures of what they write.

Nothing is listed by hand. A group of options names the base classes of its settings and of what is made (`GROUPS`); to
them belong the decorator and the suite of the group, subclasses, and the types of all fields, parameters and results.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
import typing
from collections.abc import Collection, Iterator
from enum import Enum
from types import UnionType
from typing import Any

from framework.api.component import ALL_GROUPS, Group
from framework.cli import python
from framework.hooks import hookspecs

MODULES = ["framework", "framework.api", "framework.api.training", "framework.api.program", "framework.testing"]
HOOKS, SCRIPTS = "hooks", "scripts"
PASSED_ON = {"Data": "evaluator", "Model": "trainer", "Plan": "", "Report": "logger"}
"""What most authors get and hardly any make, with the list that has what it consists of; a plan has all options."""


@functools.cache
def owners() -> dict[str, str]:
    """Return the module that each public name is imported from: the first that offers it."""
    modules = [(name, importlib.import_module(name)) for name in reversed(MODULES)]
    return {name: module.__name__ for _, module in modules for name in module.__all__ if name != "__version__"}


def thing(name: str) -> Any:
    """Return what a public name stands for."""
    return getattr(importlib.import_module(owners()[name]), name)


@functools.cache
def audiences() -> dict[str, list[str]]:
    """Return the names for each kind of author: a group of options, `hooks` or `scripts`."""
    specs = [
        hook for name, hook in vars(hookspecs).items() if name.startswith("framework_") and inspect.isroutine(hook)
    ]
    hooked = {name for hook in specs for name in _mentioned(hook)}
    starts = {group.name: start_of(group) for group in ALL_GROUPS.values()}
    starts |= {HOOKS: hooked | {"hookimpl"}, SCRIPTS: {*python.__all__} & {*owners()}}
    reached = {audience: names | (_reached(names) - _shared()) for audience, names in starts.items()}
    return {audience: sorted(names, key=lambda name: (name.lower(), name)) for audience, names in reached.items()}


@functools.cache
def everybody() -> frozenset[str]:
    """Return what every author may use: all of `framework`, the marks of settings, and what is in no list."""
    return _shared() | {*owners()} - {name for names in audiences().values() for name in names}


@functools.cache
def _shared() -> frozenset[str]:
    """Return what is in no list: `framework`, and the classes of marks of settings: `Annotated[str, NamesCode()]`."""
    bases = [group.base for group in ALL_GROUPS.values()]
    hints = [hint for base in bases for hint in typing.get_type_hints(base, include_extras=True).values()]
    marks = {type(mark).__name__ for hint in hints for mark in getattr(hint, "__metadata__", ())}
    return frozenset((marks & {*owners()}) | {name for name, owner in owners().items() if owner == "framework"})


def start_of(group: Group) -> set[str]:
    """Return what an author of options of a group subclasses or decorates with."""
    decorators = {group.name, group.product_name.lower()} & {*importlib.import_module("framework").__all__}
    suites = {name for name in owners() if getattr(thing(name), "group", "") == group.name and name.endswith("Suite")}
    returned = _mentioned(group.product, results_only=True)
    subclassed = {name for name in returned if inspect.isabstract(thing(name))}  # of a trainer, `Model`
    unions = [typing.get_args(thing(name)) for name in owners() if isinstance(thing(name), UnionType)]
    products = {kind.__name__ for union in unions if group.product in union for kind in union}  # a metric has two bases
    return {group.base.__name__, group.product_name, *products, *decorators, *suites, *subclassed}


def _reached(start: Collection[str]) -> set[str]:
    reached: set[str] = set()
    new = {*start}
    while new:
        reached |= new
        mentioned = {
            other for name in new if name in start or name not in PASSED_ON for other in _mentioned(thing(name))
        }
        new = (mentioned | {other for name in reached for other in _subclasses(name)}) - reached
    return reached


@functools.cache
def _subclasses(name: str) -> frozenset[str]:
    ours = [other for other in owners() if owners()[other] != "framework.testing" and inspect.isclass(thing(other))]
    bases = {group.base.__name__ for group in ALL_GROUPS.values()}  # a reward is a metric, and a group of its own
    return frozenset(other for other in ours if other not in bases and thing(name) in thing(other).__mro__[1:])


def _mentioned(member: Any, *, results_only: bool = False) -> set[str]:
    """Return the public classes in the annotations of a class or function, or in those of what it returns."""
    annotations = (text.rpartition(" -> ")[2] if results_only else text for text in _annotations(member))
    words = {word for annotation in annotations for word in re.findall(r"\w+", annotation)}
    return {word for word in words & {*owners()} if word[0].isupper()}


def _annotations(member: Any) -> Iterator[str]:
    if isinstance(member, UnionType):
        yield from (kind.__name__ for kind in typing.get_args(member))
    elif inspect.isroutine(member):
        yield str(inspect.signature(member))
    elif inspect.isclass(member) and not issubclass(member, Enum):
        yield from (str(hint) for name, hint in inspect.get_annotations(member).items() if not name.startswith("_"))
        for name, part in vars(member).items():
            getter = part.fget if isinstance(part, property) else getattr(part, "func", getattr(part, "__func__", part))
            if inspect.isfunction(getter) and (not name.startswith(("_", "test_")) or name in {"__init__", "__call__"}):
                yield str(inspect.signature(getter))
