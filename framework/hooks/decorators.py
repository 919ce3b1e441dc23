"""A metric, a format or an exporter in a few lines: a decorated function instead of a dataclass, a class and a hook.

    @metric
    def polite(answer):
        '''1 if the answer says please.'''
        return float("please" in answer.casefold())

The function stays what it was. Its module becomes a plugin with the option `metric=[polite]`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from framework.api.component import Component, hookimpl
from framework.api.records import Artifact, Example, Message
from framework.api.schema import ExporterConfig, FormatConfig, MetricConfig
from framework.hooks.validation import is_async, line_of
from framework.util.errors import FrameworkError

if TYPE_CHECKING:
    from framework.api.protocols import ExportContext, Model

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "framework_option"
Turns = Iterable[Message | tuple[str, str]]


@overload
def metric(function: Function, /) -> Function: ...
@overload
def metric(*, higher_is_better: bool = True) -> Callable[[Function], Function]: ...
def metric(function: Function | None = None, /, *, higher_is_better: bool = True) -> Any:
    """Make a function an option of `metric=` with the function's name.

    It takes the answer, `(answer)`, or the answer and the reference, `(answer, reference)`; with a reference it is
    asked only about prompts that have one. A third parameter, annotated with a subclass of `MetricConfig`, gets the
    options. It returns the score of one answer; the mean over all is reported. The docstring documents the option.

    Raises:
        TypeError: it is no plain function, has other parameters, or no docstring.
    """

    def decorate(function: Function) -> Function:
        names, schema = _signature(function, ("answer", "reference"), MetricConfig)
        kind = functools.partial(FunctionMetric, names=names, higher_is_better=higher_is_better)
        return _mark(function, schema, kind)

    return decorate if function is None else decorate(function)


def formatter(*fields: str) -> Callable[[Function], Function]:
    """Make a function an option of `format=` with the function's name, for rows that have all of `fields`.

    It takes the row, a mapping, and returns the turns of the conversation: pairs of role and text, the last one the
    assistant's. A second parameter, annotated with a subclass of `FormatConfig`, gets the options. The docstring
    documents the option.

    Raises:
        TypeError: it is no plain function, has other parameters or no docstring, or no field is named.
    """
    if not fields or not all(isinstance(field, str) for field in fields):
        raise TypeError("@formatter needs the names of the fields of a row: @formatter('question', 'solution')")

    def decorate(function: Function) -> Function:
        _, schema = _signature(function, ("row",), FormatConfig)
        kind = functools.partial(FunctionFormatter, fields=fields)
        return _mark(function, schema, kind)

    return decorate


@overload
def exporter(function: Function, /) -> Function: ...
@overload
def exporter(*, after: Sequence[str] = (), reusable: bool = False) -> Callable[[Function], Function]: ...
def exporter(function: Function | None = None, /, *, after: Sequence[str] = (), reusable: bool = False) -> Any:
    """Make a function an option of `exporter=` with the function's name.

    It takes the trained model and an `ExportContext`, `(model, context)`, writes below `context.run_dir` and returns,
    or yields, an `Artifact` for each file or folder that it wrote. A third parameter, annotated with a subclass of
    `ExporterConfig`, gets the options. The docstring documents the option.

    Args:
        function: the function, where the decorator stands without parentheses.
        after: names of exporters whose artifacts it uses; it comes after those of them that a run has.
        reusable: what it writes depends on the weights and the config alone: it is not called again while that is so
            and its artifacts are whole.

    Raises:
        TypeError: it is no plain function, has other parameters, or no docstring; or `after` is no list of names.
    """
    if isinstance(after, str) or not all(isinstance(name, str) for name in after):
        raise TypeError(
            f"@exporter takes the names of other exporters as a tuple: after=('merged',), not after={after!r}"
        )

    def decorate(function: Function) -> Function:
        _, schema = _signature(function, ("model", "context"), ExporterConfig, needed=2)
        kind = functools.partial(FunctionExporter, after=tuple(after), reusable=reusable)
        return _mark(function, schema, kind)

    return decorate if function is None else decorate(function)


def _signature(
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


def _mark(function: Function, schema: type, kind: Callable[..., Any]) -> Function:
    name = function.__name__
    extended: Any = function
    earlier: Any = function.__globals__.get(name)
    if function.__qualname__ == name and hasattr(earlier, MARK) and line_of(earlier) != line_of(function):
        extended.earlier = earlier  # `clashes` tells: the module has this function alone from now on
    extended.schema = schema
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
    values = {id(value): value for value in getattr(module, "__dict__", {}).values() if inspect.isfunction(value)}
    home = getattr(module, "__name__", None)
    return [value for value in values.values() if hasattr(value, MARK) and value.__module__ == home]


class FunctionMetric:
    """A metric of a decorated function."""

    def __init__(
        self, function: Callable[..., float], config: MetricConfig, *, names: tuple[str, ...], higher_is_better: bool
    ) -> None:
        self.function, self.config, self.names = function, config, names
        self.higher_is_better = higher_is_better
        self.needs_reference = "reference" in names
        self.options = [config] if len(inspect.signature(function).parameters) > len(names) else []

    def score(self, answer: str, reference: str | None) -> float:
        """Call the function with what it takes."""
        values = {"answer": answer, "reference": reference}
        return self.function(*(values[name] for name in self.names), *self.options)


class FunctionFormatter:
    """A format of a decorated function."""

    def __init__(self, function: Callable[..., Turns], config: FormatConfig, *, fields: tuple[str, ...]) -> None:
        self.function, self.config, self.fields = function, config, fields
        self.options = [config] if len(inspect.signature(function).parameters) > 1 else []

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the row has all fields."""
        return all(name in fields for name in self.fields)

    def example(self, fields: Mapping[str, Any]) -> Example:
        """Call the function.

        Raises:
            FrameworkError: a field is missing, or a turn is no text.
        """
        kind = self.function.__name__
        for name in self.fields:
            if name not in fields:
                raise FrameworkError(
                    f"format {kind} needs the field '{name}'; the row has {', '.join(map(str, fields)) or 'none'}"
                )
        try:
            turns = [turn if isinstance(turn, Message) else Message(*turn) for turn in self._turns(fields)]
        except KeyError as error:
            raise FrameworkError(
                f"format {kind} needs the field {error}; the row has {', '.join(map(str, fields))}"
            ) from error
        for turn in turns:
            if not isinstance(turn.content, str):
                raise FrameworkError(
                    f"format {kind} makes the {turn.role}'s turn {type(turn.content).__name__}, not text"
                )
        return Example(tuple(turns), kind)

    def _turns(self, fields: Mapping[str, Any]) -> Turns:
        return self.function(fields, *self.options)


class FunctionExporter:
    """An exporter of a decorated function."""

    def __init__(
        self,
        function: Callable[..., Iterable[Artifact]],
        config: ExporterConfig,
        *,
        after: tuple[str, ...],
        reusable: bool,
    ) -> None:
        self.function, self.config = function, config
        self.after, self.reusable = after, reusable
        self.options = [config] if len(inspect.signature(function).parameters) > 2 else []  # noqa: PLR2004 - see @exporter

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Call the function; the export stage looks at what it returns, as it does for every exporter."""
        result: Any = self.function(model, context, *self.options)
        return result  # type: ignore[no-any-return]
