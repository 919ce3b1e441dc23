"""Checks of the hooks and components of a plugin, which name hook and line before pluggy refuses the module."""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pluggy

from framework.api.component import ALL_GROUPS, Component, groups_of
from framework.hooks import hookspecs
from framework.util.errors import nearest

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("framework_")}
COMPONENTS = "framework_components"
"""The hook that registers the options of all groups."""


def wrong_hooks(module: object, plugins: pluggy.PluginManager) -> Iterator[str]:
    """Say what is wrong with the functions of a module that `hookimpl` marks; pluggy itself would not say where."""
    for attribute in dir(module):
        marks: Any = plugins.parse_hookimpl_opts(module, attribute)
        name = (marks and marks.get("specname")) or attribute
        # pluggy ignores an optional hook that nobody specifies.
        if marks is None or (marks.get("optionalhook") and name not in HOOKS):
            continue
        function = getattr(module, attribute)
        where = f"({line_of(function)})"
        if name not in HOOKS:
            yield f"{unknown_hook(name)} {where}"
            continue
        if marks.get("wrapper") or marks.get("hookwrapper"):
            yield f"hook {name} is marked as a wrapper, but hooks are called one by one: write only @hookimpl {where}"
        if is_async(function):
            yield f"hook {name} is async, and nothing would await it: write def, not async def {where}"
        if wrong := wrong_arguments(name, function):
            yield f"{wrong} {where}"


def wrong_arguments(name: str, function: Callable[..., Any]) -> str:
    """Say that a function takes something else than its hook gives; empty if it does not."""
    valid, parameters = _required_parameters(HOOKS[name]), _required_parameters(function)
    if all(
        parameter.name in valid and parameter.kind is not parameter.KEYWORD_ONLY for parameter in parameters.values()
    ):
        return ""
    takes = [
        ", ".join(
            f"{parameter.name}, by name only" if parameter.kind is parameter.KEYWORD_ONLY else parameter.name
            for parameter in signature.values()
        )
        for signature in (valid, parameters)
    ]
    return f"hook {name} takes ({takes[0]}), this one takes ({takes[1]})"


def unknown_hook(name: str) -> str:
    """Say that there is no such hook, and which may be meant."""
    hook = nearest_hook(name)
    purpose = ", which registers the options of every group" if hook == COMPONENTS else ""
    return f"unknown hook '{name}'. " + (f"Did you mean '{hook}'{purpose}?" if hook else f"Valid: {', '.join(HOOKS)}")


def nearest_hook(name: str) -> str:
    """Return the hook that a name most likely stands for; empty if none comes close."""
    hooks = {hook.removeprefix("framework_"): hook for hook in HOOKS}
    words = [*(f"{group}s" for group in ALL_GROUPS), "sources"]  # an option of `data=` is a `Source`
    hooks |= dict.fromkeys(words, COMPONENTS)  # `framework_exporters`: a hook for a single group
    close = nearest(name.removeprefix("framework_"), hooks)
    return hooks[close[0]] if close else ""


def _required_parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters without a default, by name."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(function).parameters
    return {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind not in several
    }


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call gives something to await."""
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def line_of(function: Callable[..., Any]) -> str:
    """Return where a function is written, `acme.py:12`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


def wrong_component(component: object) -> str:
    """Say why what a plugin gives cannot be an option of any group; empty if it can."""
    if not isinstance(component, Component):
        return f"{COMPONENTS} returned {type(component).__name__}, not a Component"
    name, factory, extra, order = component.name, component.factory, component.extra, component.import_order
    words = extra if isinstance(extra, tuple) else (extra,)
    if not _matches(r"[A-Za-z_][\w-]*", name):
        return f"its name {name!r} has to be a word of letters, digits and underscores"
    if wrong := wrong_schema(component.schema):
        return wrong
    if not _matches(r"[^:\s]+:[^:\s]+", factory):
        return f"factory={factory!r} has to be 'package.module:attribute'"
    if not all(isinstance(word, str) for word in words):
        return f"extra={extra!r} has to be arguments of pip install"
    if not _is_order(order):
        return f"import_order={order!r} has to be two or more names of modules"
    return ""


def wrong_schema(schema: object) -> str:
    """Say why a schema cannot be that of a component: it has to tell the group, and the option; empty if it can."""
    if not isinstance(schema, type):
        return f"its schema {schema!r} is not a class: give a dataclass that subclasses the base of a group"
    groups, name = groups_of(schema), schema.__name__
    if not groups:
        bases = ", ".join(group.base.__name__ for group in ALL_GROUPS.values())
        return f"its schema {name} does not subclass the base of any group. Bases: {bases}"
    if len(groups) > 1:
        bases = " and ".join(group.base.__name__ for group in groups)
        return f"its schema {name} subclasses {bases}, but an option belongs to one group: keep one of them"
    if schema is groups[0].base:
        return f"its schema is {name} itself: subclass it, because the class identifies the option"
    if "__dataclass_fields__" not in vars(schema):  # it inherits those of its base, and none of its own
        return f"its schema {name} has no @dataclass of its own, so it has no fields: write it above the class"
    return ""


def missing_factory(component: Component) -> str:
    """Say that what a factory names does not exist; empty if it does, as far as that shows without importing it."""
    module, _, attribute = component.factory.partition(":")
    name = attribute.partition(".")[0]
    wrong = f"{label(component)} cannot be loaded from {component.factory}"
    loaded = sys.modules.get(module)
    try:
        spec = None if loaded else importlib.util.find_spec(module)
    except Exception:  # noqa: BLE001 - a package that fails when it is imported, which `Component.load` tells
        return ""
    if loaded is None and spec is None:
        absent = component.extra and "." not in module  # a library of that name may have to be installed
        return "" if absent else f"{wrong}: there is no module '{module}'"
    if loaded is not None:
        names, exists = [*vars(loaded)], hasattr(loaded, name)
    else:
        source = getattr(spec and spec.loader, "get_source", lambda _: None)(module)  # a compiled module has none
        # The source is searched, since importing the module may take seconds, or a library that is missing.
        names = re.findall(r"(?m)^(?:class|def) (\w+)", source or "")
        exists = source is None or re.search(rf"\b{name}\b|import \*|__getattr__", source) is not None
    if exists:
        return ""
    close = nearest(name, [candidate for candidate in names if not candidate.startswith("_")])
    hint = f". Did you mean '{close[0]}'?" if close else ""
    return f"{wrong}: '{module}' has no '{name}'{hint}"


def label(component: object) -> str:
    """Name a component in messages: `metric 'polite'`, or `component 'polite'` where its schema tells no group."""
    groups = groups_of(getattr(component, "schema", None))
    return f"{groups[0].name if len(groups) == 1 else 'component'} '{getattr(component, 'name', component)}'"


def _is_order(value: object) -> bool:
    are_names = isinstance(value, tuple) and all(_matches(r"[A-Za-z_]\w*", name) for name in value)
    return are_names and len(value) != 1  # type: ignore[arg-type]


def _matches(pattern: str, text: object) -> bool:
    return isinstance(text, str) and re.fullmatch(pattern, text) is not None
