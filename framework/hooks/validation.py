"""What is wrong with the hooks and the components of a plugin, with hook and line, before pluggy refuses the module."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pluggy

from framework.api.component import Component, Group
from framework.hooks import hookspecs
from framework.util.errors import nearest

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("framework_")}


def wrong_hooks(module: object, plugins: pluggy.PluginManager) -> Iterator[str]:
    """Say what is wrong with the functions of a module that `hookimpl` marks; pluggy itself would not say where."""
    for attribute in dir(module):
        marks: Any = plugins.parse_hookimpl_opts(module, attribute)
        name = (marks and marks.get("specname")) or attribute
        if marks is None or (marks.get("optionalhook") and name not in HOOKS):
            continue
        function = getattr(module, attribute)
        where = f"({line_of(function)})"
        if name not in HOOKS:
            close = nearest(name, HOOKS)
            hint = f"Did you mean '{close[0]}'?" if close else f"Valid: {', '.join(HOOKS)}"
            yield f"unknown hook '{name}'. {hint} {where}"
            continue
        if marks.get("wrapper") or marks.get("hookwrapper"):
            yield f"hook {name} is marked as a wrapper, and each is called by itself: write @hookimpl alone {where}"
        if is_async(function):
            yield f"hook {name} is async, and nothing would await it: write def, not async def {where}"
        valid, given = _needed(HOOKS[name]), _needed(function)
        if any(each.name not in valid or each.kind is each.KEYWORD_ONLY for each in given.values()):
            takes = [", ".join(map(_written, each.values())) for each in (valid, given)]
            yield f"hook {name} takes ({takes[0]}), this one takes ({takes[1]}) {where}"


def _needed(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters that have to be given."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    given = inspect.signature(function).parameters
    return {name: each for name, each in given.items() if each.default is each.empty and each.kind not in several}


def _written(parameter: inspect.Parameter) -> str:
    return f"{parameter.name}, by name only" if parameter.kind is parameter.KEYWORD_ONLY else parameter.name


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def line_of(function: Callable[..., Any]) -> str:
    """Return where a function is written, `acme.py:12`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def wrong_component(component: object, group: Group) -> str:
    """Say why what a plugin gives cannot be an option of a group; empty where it can."""
    if not isinstance(component, Component):
        return f"{group.hook} gives a {type(component).__name__}, no Component"
    name, schema, factory, extra = component.name, component.schema, component.factory, component.extra
    base, words = group.base, extra if isinstance(extra, tuple) else (extra,)
    is_schema = isinstance(schema, type) and dataclasses.is_dataclass(schema) and issubclass(schema, base)
    holds = {
        f"its name {name!r} has to be a word of letters, digits and underscores": _matches(r"[A-Za-z_][\w-]*", name),
        f"its schema {schema!r} is no dataclass that subclasses {base.__name__}": is_schema,
        f"its schema is {base.__name__} itself: subclass it, the class tells options apart": schema is not base,
        f"factory={factory!r} has to be 'package.module:attribute'": _matches(r"[^:\s]+:[^:\s]+", factory),
        f"extra={extra!r} has to be words for pip": all(isinstance(word, str) for word in words),
        f"import_order={component.import_order!r} has to be two names of modules or more": _is_order(
            component.import_order
        ),
    }
    return next((reason for reason, good in holds.items() if not good), "")


def _is_order(given: object) -> bool:
    whole = isinstance(given, tuple) and all(_matches(r"[A-Za-z_]\w*", name) for name in given)
    return whole and len(given) != 1  # type: ignore[arg-type]


def _matches(pattern: str, text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None
