"""The hooks of a plugin: whether they exist, take what is given, and what they give back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from framework.api.component import Component, Group, groups_of
from framework.api.diagnostic import Diagnostic
from framework.hooks.decorated import DECORATORS, collect
from framework.hooks.validation import (
    COMPONENTS,
    HOOKS,
    label,
    nearest_hook,
    unknown_hook,
    wrong_arguments,
    wrong_schema,
)
from framework.util.errors import error_location, summarize_error

DIAGNOSTICS = "framework_diagnostics"
PATHS = "framework_config_paths"
MARK = "framework_impl"
"""The attribute by which pluggy knows a function that `hookimpl` has marked."""


@dataclass(frozen=True)
class Offer:
    """A component and its group."""

    group: Group
    component: Component

    def __str__(self) -> str:
        """Name it as the user does: `metric 'polite'`."""
        return label(self.component)


@dataclass
class PluginParts:
    """What a plugin registers, and what is wrong with how it does that."""

    offers: list[Offer] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(module: ModuleType) -> PluginParts:
    """Look at every hook of a module and call those that register something."""
    parts = PluginParts()
    has_hook = False
    for name, function in list(vars(module).items()):
        marks = getattr(function, MARK, None) if inspect.isroutine(function) else None
        if marks is None:
            if inspect.isfunction(function) and name.startswith("framework_"):
                parts.problems.append(_unmarked(name))
            continue
        has_hook = True
        hook = marks.get("specname") or name
        if hook not in HOOKS:
            if not marks.get("optionalhook"):
                parts.problems.append(unknown_hook(hook))
            continue
        wrong = list(_arguments(hook, function))
        parts.problems += wrong
        if not wrong:
            _call(parts, hook, function)
    for component in collect(module):
        has_hook = True
        _offer(parts, component)
    if not has_hook and not parts.problems:
        parts.problems.append(
            f"nothing in {module.__name__} is a plugin: mark a hook with @hookimpl, or a function with {DECORATORS}"
        )
    return parts


def _offer(parts: PluginParts, component: Component) -> None:
    if wrong := wrong_schema(component.schema):
        parts.problems.append(f"{label(component)}: {wrong}")
    else:
        (group,) = groups_of(component.schema)
        parts.offers.append(Offer(group, component))


def _unmarked(name: str) -> str:
    if name in HOOKS:
        return f"{name} has the name of a hook and no mark, so nothing calls it: write @hookimpl above it"
    close = f", {near}" if (near := nearest_hook(name)) else ""
    return f"{name} is named as a hook is, and there is none of that name: name it otherwise{close}"


def _arguments(hook: str, function: Callable[..., Any]) -> Iterator[str]:
    """Say what `wrong_hooks` refuses, and what pluggy accepts and never gives."""
    if wrong := wrong_arguments(hook, function):
        yield wrong
    given = inspect.signature(HOOKS[hook]).parameters
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in given and parameter.default is not parameter.empty:
            yield f"{hook} has a default for '{parameter.name}', and such an argument is never given: take it away"


def _call(parts: PluginParts, hook: str, function: Callable[..., Any]) -> None:
    """Call a hook that registers something and keep what it gives."""
    if hook not in {COMPONENTS, PATHS, DIAGNOSTICS}:
        return
    try:
        result = function()
        items = list(result) if isinstance(result, Iterable) and not isinstance(result, str) else None
    except Exception as error:  # noqa: BLE001 - third-party code
        parts.problems.append(f"{hook} raises {summarize_error(error)}{error_location(error)}")
        return
    if items is None:
        description = f"one {type(result).__name__}" if result is not None else "None"
        parts.problems.append(
            f"{hook} returned {description}: yield {'it' if result is not None else 'what it registers'}"
        )
        return
    if hook == DIAGNOSTICS:
        parts.problems += [reason for item in items if (reason := Diagnostic.problem_of(item))]
        parts.diagnostics += [item for item in items if not Diagnostic.problem_of(item)]
        return
    for item in items:
        if hook == PATHS and isinstance(item, str):
            parts.paths.append(item)
        elif hook == COMPONENTS and isinstance(item, Component):
            _offer(parts, item)
        else:
            kind = "text" if hook == PATHS else "Component"
            parts.problems.append(f"{hook} yields {item!r}, not a {kind}")
