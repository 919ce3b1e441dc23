"""What makes a decorated function an option: its parameters, the schema of its options, the plugin of its module."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import is_dataclass, make_dataclass
from typing import Any, TypeVar, get_type_hints

from framework.api.component import Component, hookimpl
from framework.hooks.validation import is_async, line_of

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "framework_option"
DECORATORS = "@metric, @reward, @formatter, @exporter, @loss, @method, @optimizer, @schedule, @sampler or @callback"
"""What makes a function an option, for messages."""


def signature(
    function: Callable[..., Any], names: tuple[str, ...], base: type, *, needed: int = 1
) -> tuple[tuple[str, ...], type]:
    """Return the parameters that are passed besides the options, and a schema of the function's own for these.

    The first `needed` of `names` have to be there.
    """
    if not inspect.isfunction(function):
        raise TypeError(f"{function!r} is not a function: decorate what `def` makes, above other decorators")
    where = f"{function.__module__}.{function.__qualname__}"
    if is_async(function):
        raise TypeError(f"{where} is async, and nothing would await it: write def, not async def")
    if not function.__doc__:
        raise TypeError(f"{where} needs a docstring: its first line documents the option")
    parameters = list(inspect.signature(function).parameters)
    options = [name for name in parameters if name not in names]
    if (
        # The options come last, so whatever is left over is one parameter at the end.
        parameters[:needed] != [*names[:needed]]
        or len(options) > 1
        or options != parameters[len(parameters) - len(options) :]
    ):
        raise TypeError(
            f"{where} takes ({', '.join(parameters)}); it may take ({', '.join(names)}), and the options after that"
        )
    hint = get_type_hints(function).get(options[0]) if options else base
    if not (isinstance(hint, type) and is_dataclass(hint) and issubclass(hint, base)):
        raise TypeError(f"{where}: annotate '{options[0]}' with a dataclass that subclasses {base.__name__}")
    # Always a class of its own: functions may share their options, and the class tells which of them a config is of.
    schema = make_dataclass(f"{function.__name__}_config", [], bases=(hint,))
    schema.__module__ = function.__module__
    schema.__doc__ = function.__doc__
    schema.__qualname__ = f"{function.__qualname__}.schema"  # where pickle finds it
    return tuple(name for name in parameters if name in names), schema


def mark(function: Function, schema: type, kind: Callable[..., Any]) -> Function:
    """Make a function the option of a schema; `kind` makes the object of it and its config."""
    name = function.__name__
    extended: Any = function
    earlier: Any = function.__globals__.get(name)
    if function.__qualname__ == name and hasattr(earlier, MARK) and line_of(earlier) != line_of(function):
        extended.earlier = earlier  # `clashes` tells: the module has only this function from now on
    extended.schema = schema
    # The factory string leads here: a function can carry attributes, so no class is generated for it.
    extended.create = lambda config: kind(function, config)
    setattr(extended, MARK, Component(name, schema, f"{function.__module__}:{name}.create"))
    return function


def mark_class(product: type, base: type) -> type:
    """Make a class the option of the schema that the annotation of its attribute `config` names.

    Raises:
        TypeError: it is not a class, has no docstring, or `config` is not annotated with a dataclass that subclasses
            `base`.
    """
    if not inspect.isclass(product):
        raise TypeError(f"{product!r} is not a class: decorate what `class` makes")
    where = f"{product.__module__}.{product.__qualname__}"
    if not vars(product).get("__doc__"):
        raise TypeError(f"{where} needs a docstring: its first line documents the option")
    hint = get_type_hints(product).get("config")
    if not (isinstance(hint, type) and is_dataclass(hint) and issubclass(hint, base)):
        raise TypeError(f"{where}: annotate the attribute 'config' with a dataclass that subclasses {base.__name__}")
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", product.__name__).lower()
    schema = make_dataclass(f"{name}_config", [], bases=(hint,))
    schema.__module__, schema.__doc__ = product.__module__, product.__doc__
    schema.__qualname__ = f"{product.__qualname__}.schema"  # where pickle finds it
    extended: Any = product
    extended.schema, extended.name = schema, name
    setattr(extended, MARK, Component(name, schema, f"{product.__module__}:{product.__name__}"))
    return product


class Decorated:
    """The plugin that the decorated functions of a module are."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.components = components

    @hookimpl
    def framework_components(self) -> Iterable[Component]:
        """Register each."""
        return self.components


def collect(module: object) -> list[Component]:
    """Return what a module decorates, each option once, what it imports from elsewhere left out."""
    return [getattr(function, MARK) for function in _decorated(module)]


def clashes(module: object) -> Iterator[str]:
    """Say which functions and classes that a module decorates cannot be found by their names."""
    for function in _decorated(module):
        name, earlier = function.__name__, getattr(function, "earlier", None)
        if earlier is not None and earlier.__module__ == function.__module__:
            lines = f"{line_of(earlier)} and {line_of(function)}"
            yield f"two functions have the name '{name}' ({lines}): rename one of them"
        elif vars(module).get(name) is not function:
            kind = "class" if inspect.isclass(function) else "function"
            yield f"the {kind} '{name}' ({line_of(function)}) has a different name in its module: use that name"


def _decorated(module: object) -> list[Callable[..., Any]]:
    """Return the marked functions and classes that a module defines; one with two names is one option."""
    # By identity: a function that has two names in the module is registered once.
    members = getattr(module, "__dict__", {}).values()
    values = {id(value): value for value in members if inspect.isfunction(value) or inspect.isclass(value)}
    home = getattr(module, "__name__", None)
    return [value for value in values.values() if MARK in vars(value) and value.__module__ == home]


class DecoratedFunction:
    """A decorated function, which is called with what it takes."""

    def __init__(self, function: Callable[..., Any], config: Any, *, names: tuple[str, ...]) -> None:
        self.function, self.config, self.names = function, config, names
        self._options = [config] if len(inspect.signature(function).parameters) > len(names) else []

    def call(self, **values: Any) -> Any:
        """Call the function."""
        return self.function(*(values[name] for name in self.names), *self._options)
