"""What makes a decorated function an option: its parameters, the schema of its options, the plugin of its module."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import is_dataclass, make_dataclass
from typing import Any, TypeVar, get_type_hints

from framework.api.component import Component, hookimpl
from framework.hooks.validation import is_async, line_of

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "framework_option"
DECORATORS = "@metric, @reward, @formatter, @exporter, @loss, @optimizer, @schedule, @sampler or @callback"
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


class Decorated:
    """The plugin that the decorated functions of a module are."""

    def __init__(self, components: Sequence[Component]) -> None:
        self.components = components

    @hookimpl
    def framework_components(self) -> Iterable[Component]:
        """Register each."""
        return self.components


def collect(module: object) -> list[Component]:
    """Return the decorated functions of a module, each once, those that it imports from elsewhere left out."""
    return [getattr(function, MARK) for function in _decorated(module)]


def clashes(module: object) -> Iterator[str]:
    """Say which decorated functions of a module cannot be found by their names."""
    for function in _decorated(module):
        name, earlier = function.__name__, getattr(function, "earlier", None)
        if earlier is not None and earlier.__module__ == function.__module__:
            lines = f"{line_of(earlier)} and {line_of(function)}"
            yield f"two functions have the name '{name}' ({lines}): rename one of them"
        elif vars(module).get(name) is not function:
            yield f"the function '{name}' ({line_of(function)}) has a different name in its module: use that name"


def _decorated(module: object) -> list[Callable[..., Any]]:
    """Return the marked functions that a module defines; one with two names is one function."""
    # By identity: a function that has two names in the module is registered once.
    values = {id(value): value for value in getattr(module, "__dict__", {}).values() if inspect.isfunction(value)}
    home = getattr(module, "__name__", None)
    return [value for value in values.values() if hasattr(value, MARK) and value.__module__ == home]


class DecoratedFunction:
    """A decorated function, which is called with what it takes."""

    def __init__(self, function: Callable[..., Any], config: Any, *, names: tuple[str, ...]) -> None:
        self.function, self.config, self.names = function, config, names
        self._options = [config] if len(inspect.signature(function).parameters) > len(names) else []

    def call(self, **values: Any) -> Any:
        """Call the function."""
        return self.function(*(values[name] for name in self.names), *self._options)
