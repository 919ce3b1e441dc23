"""An option in a few lines: a decorated function instead of a dataclass, a class and a hook.

    @metric
    def polite(answer):
        '''1 if the answer says please.'''
        return float("please" in answer.casefold())

The function stays what it was. Its module becomes a plugin with the option `metric=[polite]`. Those that are a part of
a training are in `training_decorators.py`.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from framework.api.protocols import Exporter, Formatter, Metric
from framework.api.records import Artifact, Example, Message
from framework.api.schema import ExporterConfig, FormatConfig, MetricConfig
from framework.hooks.decorated import DecoratedFunction, Function, mark, signature
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, short_repr

if TYPE_CHECKING:
    from framework.api.protocols import ExportContext, Model

Turns = Iterable[Message | tuple[str, str]]
MOST_TURNS = 100_000
"""Turns of one conversation: a generator that gives more has no end."""


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
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """

    def decorate(function: Function) -> Function:
        names, schema = signature(function, ("answer", "reference"), MetricConfig)
        kind = functools.partial(FunctionMetric, names=names, higher_is_better=higher_is_better)
        return mark(function, schema, kind)

    return decorate if function is None else decorate(function)


def formatter(*fields: str) -> Callable[[Function], Function]:
    """Make a function an option of `format=` with the function's name, for rows that have all of `fields`.

    It takes the row, a mapping, and returns the turns of the conversation: pairs of role and text, the last one the
    assistant's; or an `Example`, which may also have facts, arrays and a rejected answer. A second parameter, annotated
    with a subclass of `FormatConfig`, gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters or no docstring, or no field is named.
    """
    if not fields or not all(isinstance(field, str) for field in fields):
        raise TypeError("@formatter needs the names of the fields of a row: @formatter('question', 'solution')")

    def decorate(function: Function) -> Function:
        _, schema = signature(function, ("row",), FormatConfig)
        kind = functools.partial(FunctionFormatter, fields=fields)
        return mark(function, schema, kind)

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
        function: the function, if the decorator is written without parentheses.
        after: names of exporters whose artifacts it uses; it comes after those of them that a run has.
        reusable: what it writes depends on the weights and the config only: it is not called again while that is so
            and its artifacts are whole.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring; or `after` is not a list of names.
    """
    if isinstance(after, str) or not all(isinstance(name, str) for name in after):
        raise TypeError(
            f"@exporter takes the names of other exporters as a tuple: after=('merged',), not after={after!r}"
        )

    def decorate(function: Function) -> Function:
        _, schema = signature(function, ("model", "context"), ExporterConfig, needed=2)
        kind = functools.partial(FunctionExporter, after=tuple(after), reusable=reusable)
        return mark(function, schema, kind)

    return decorate if function is None else decorate(function)


class FunctionMetric(DecoratedFunction, Metric):
    """A metric of a decorated function."""

    def __init__(
        self, function: Callable[..., float], config: MetricConfig, *, names: tuple[str, ...], higher_is_better: bool
    ) -> None:
        super().__init__(function, config, names=names)
        self.higher_is_better = higher_is_better
        self.needs_reference = "reference" in names

    def score(self, answer: str, reference: str | None) -> float:
        """Call the function with what it takes."""
        result: float = self.call(answer=answer, reference=reference)
        return result


class FunctionFormatter(DecoratedFunction, Formatter):
    """A format of a decorated function."""

    def __init__(self, function: Callable[..., Turns], config: FormatConfig, *, fields: tuple[str, ...]) -> None:
        super().__init__(function, config, names=("row",))
        self.fields = fields

    def matches(self, fields: Mapping[str, Any]) -> bool:
        """Whether the row has all fields."""
        return all(name in fields for name in self.fields)

    def example(self, fields: Mapping[str, Any]) -> Example:
        """Call the function.

        Raises:
            FrameworkError: a field is missing, or a turn is not text.
        """
        kind = self.function.__name__
        for name in self.fields:
            if name not in fields:
                raise FrameworkError(
                    f"format {kind} needs the field '{name}'; the row has {', '.join(map(str, fields)) or 'none'}"
                )
        try:
            result = self.call(row=fields)
            if isinstance(result, Example):
                return dataclasses.replace(result, format=kind)
            turns = [*map(self._turn, itertools.islice(self._items(result), MOST_TURNS + 1))]
        except KeyError as error:
            raise FrameworkError(
                f"format {kind} needs the field {error}; the row has {', '.join(map(str, fields))}"
            ) from error
        if len(turns) > MOST_TURNS:
            raise FrameworkError(f"format={kind} gives more than {MOST_TURNS:,} turns for one row: end the generator")
        for turn in turns:
            if not isinstance(turn.content, str):
                raise FrameworkError(
                    f"format={kind} makes the {turn.role}'s turn {type(turn.content).__name__}, not text"
                )
        return Example(tuple(turns), kind)

    def _items(self, result: Any) -> Iterable[Any]:
        """Return what the function returned as turns; what a generator raises is its own."""
        failed = Caught()
        with failed:
            if not isinstance(result, str | bytes | Mapping):
                items: Iterable[Any] = iter(result)
                return items
        raise FrameworkError(
            f"format={self.function.__name__} returned {short_repr(result)}: return pairs of role and text, or an "
            "Example"
        ) from failed.error

    def _turn(self, turn: Any) -> Message:
        if isinstance(turn, Message):
            return turn
        failed = Caught()
        with failed:
            if isinstance(turn, tuple | list):
                return Message(*turn)
        raise FrameworkError(
            f"format={self.function.__name__} returned the turn {short_repr(turn)}: make each a pair of role and text"
        ) from failed.error


class FunctionExporter(DecoratedFunction, Exporter):
    """An exporter of a decorated function."""

    def __init__(
        self,
        function: Callable[..., Iterable[Artifact]],
        config: ExporterConfig,
        *,
        after: tuple[str, ...],
        reusable: bool,
    ) -> None:
        super().__init__(function, config, names=("model", "context"))
        self.after, self.reusable = after, reusable

    def export(self, model: Model, context: ExportContext) -> list[Artifact]:
        """Call the function; the export stage looks at what it returns, as it does for every exporter."""
        result: list[Artifact] = self.call(model=model, context=context)
        return result
