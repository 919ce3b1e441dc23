"""An option in a few lines: a decorated function instead of a dataclass, a class and a hook.

    @metric
    def polite(answer):
        '''1 if the answer says please.'''
        return float("please" in answer.casefold())

The function stays what it was. Its module becomes a plugin with the option `metric=[polite]`.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import is_dataclass, make_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints, overload

from framework.api.component import Component, hookimpl
from framework.api.protocols.objectives import LossValue
from framework.api.records import Artifact, Example, Message
from framework.api.schema import (
    CallbackConfig,
    ExporterConfig,
    FormatConfig,
    LossConfig,
    MetricConfig,
    OptimizerConfig,
    SamplerConfig,
    ScheduleConfig,
)
from framework.hooks.validation import is_async, line_of
from framework.util.errors import FrameworkError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framework.api.protocols import ExportContext, Model, ParameterGroup, TokenScores, TrainedWeight
    from framework.api.records import Step, StepControl, TokenGroup

Function = TypeVar("Function", bound=Callable[..., Any])
MARK = "framework_option"
DECORATORS = "@metric, @formatter, @exporter, @optimizer, @schedule, @sampler or @callback"
"""What makes a function an option, for messages."""
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
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """

    def decorate(function: Function) -> Function:
        names, schema = _signature(function, ("answer", "reference"), MetricConfig)
        kind = functools.partial(FunctionMetric, names=names, higher_is_better=higher_is_better)
        return _mark(function, schema, kind)

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
        _, schema = _signature(function, ("model", "context"), ExporterConfig, needed=2)
        kind = functools.partial(FunctionExporter, after=tuple(after), reusable=reusable)
        return _mark(function, schema, kind)

    return decorate if function is None else decorate(function)


@overload
def optimizer(function: Function, /) -> Function: ...
@overload
def optimizer(*, state_bytes: float | None = None, shards: bool = False) -> Callable[[Function], Function]: ...
def optimizer(function: Function | None = None, /, *, state_bytes: float | None = None, shards: bool = False) -> Any:
    """Make a function an option of `optimizer=` with the function's name.

    It takes the groups of weights and the learning rate, `(groups, rate)`, and returns a `torch.optim.Optimizer`;
    `group.for_torch()` is what the optimizers of torch take. Import torch inside the function. A parameter `warmup`
    gets the steps of the warm-up, and a last one, annotated with a subclass of `OptimizerConfig`, the options. The
    docstring documents the option.

    Args:
        function: the function, if the decorator is written without parentheses.
        state_bytes: bytes of the states for each parameter, for the plan; None: the plan says that it does not know.
        shards: it can update weights that lie in pieces on several GPUs, as `launch=fsdp2` has them.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """

    def decorate(function: Function) -> Function:
        names, schema = _signature(function, ("groups", "rate", "warmup"), OptimizerConfig, needed=2)
        schema.shards = shards  # type: ignore[attr-defined] # the attribute of OptimizerConfig
        return _mark(function, schema, functools.partial(FunctionOptimizer, names=names, bytes_each=state_bytes))

    return decorate if function is None else decorate(function)


@overload
def loss(function: Function, /) -> Function: ...
@overload
def loss(
    *,
    linear: bool = False,
    needs_reference: bool = False,
    whole_step: bool = False,
    facts: Sequence[str] = (),
    arrays: Sequence[str] = (),
    ids: str = "",
) -> Callable[[Function], Function]: ...
def loss(
    function: Function | None = None,
    /,
    *,
    linear: bool = False,
    needs_reference: bool = False,
    whole_step: bool = False,
    facts: Sequence[str] = (),
    arrays: Sequence[str] = (),
    ids: str = "",
) -> Any:
    """Make a function an option of `loss=` with the function's name.

    It takes the `TokenScores` of some groups, `(scores)`, and returns a `LossValue`, or the loss alone as a scalar
    tensor. A second parameter, annotated with a subclass of `LossConfig`, gets the options. The docstring documents the
    option.

    Args:
        function: the function, if the decorator is written without parentheses.
        linear: as in `Objective`, with the two that follow.
        needs_reference: see there.
        whole_step: see there.
        facts: names of the facts that each group has to have.
        arrays: names of the arrays that each group has to have.
        ids: the one of them whose ids are scored instead of the learned tokens.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring; `facts` or `arrays` are not lists
            of names.
    """
    for name, given in (("facts", facts), ("arrays", arrays)):
        if isinstance(given, str) or not all(isinstance(each, str) for each in given):
            raise TypeError(f"@loss takes names as a tuple: {name}=('weight',), not {name}={given!r}")
    known = {"facts": tuple(facts), "arrays": tuple(dict.fromkeys([*arrays, *([ids] if ids else [])]))}
    flags = {"linear": linear, "needs_reference": needs_reference, "whole_step": whole_step}

    def decorate(function: Function) -> Function:
        _, schema = _signature(function, ("scores",), LossConfig)
        for name, value in {**flags, **known}.items():
            setattr(schema, name, value)
        return _mark(function, schema, functools.partial(FunctionLoss, ids_of=ids))

    return decorate if function is None else decorate(function)


def schedule(function: Function, /) -> Function:
    """Make a function an option of `schedule=` with the function's name.

    It takes the steps that are done, those of the training and those of the warm-up, `(step, steps, warmup)`, and
    returns the factor on the learning rate. It has to be pure. A parameter `rate` gets the learning rate, and a last
    one, annotated with a subclass of `ScheduleConfig`, the options. Without `warmup` it has no warm-up. The docstring
    documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = _signature(function, ("step", "steps", "warmup", "rate"), ScheduleConfig, needed=2)
    schema.warms_up = "warmup" in names  # type: ignore[attr-defined] # the attribute of ScheduleConfig
    return _mark(function, schema, functools.partial(FunctionSchedule, names=names))


def sampler(function: Function, /) -> Function:
    """Make a function an option of `sampler=` with the function's name.

    It takes the tokens of each row, the rows of an optimizer step, the number of steps and the seed,
    `(lengths, batch, steps, seed)`, and yields the numbers of the rows of each step. A last parameter, annotated with a
    subclass of `SamplerConfig`, gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = _signature(function, ("lengths", "batch", "steps", "seed"), SamplerConfig, needed=2)
    return _mark(function, schema, functools.partial(FunctionSampler, names=names))


def callback(function: Function, /) -> Function:
    """Make a function an option of `callback=` with the function's name.

    It takes a log entry, `(step)`, and returns a `StepControl`, or None for nothing. A parameter `state` gets a dict
    that starts empty and is saved with each checkpoint; it may hold numbers, texts, lists and dicts. A last one,
    annotated with a subclass of `CallbackConfig`, gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = _signature(function, ("step", "state"), CallbackConfig)
    return _mark(function, schema, functools.partial(FunctionCallback, names=names))


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


def _mark(function: Function, schema: type, kind: Callable[..., Any]) -> Function:
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
        self.options = [config] if len(inspect.signature(function).parameters) > len(names) else []

    def call(self, **values: Any) -> Any:
        """Call the function."""
        return self.function(*(values[name] for name in self.names), *self.options)


class FunctionMetric(DecoratedFunction):
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


class FunctionOptimizer(DecoratedFunction):
    """An optimizer of a decorated function."""

    def __init__(
        self, function: Callable[..., Any], config: OptimizerConfig, *, names: tuple[str, ...], bytes_each: float | None
    ) -> None:
        super().__init__(function, config, names=names)
        self.bytes_each = bytes_each

    def state_bytes(self, weights: Sequence[TrainedWeight], *, on_gpu: bool) -> float | None:  # noqa: ARG002 - the same
        """Return what the decorator says of each parameter, for all."""
        each = self.bytes_each
        return None if each is None else each * sum(math.prod(weight.shape) for weight in weights)

    def create(self, groups: Sequence[ParameterGroup], rate: float, warmup: int) -> Any:
        """Call the function with what it takes."""
        return self.call(groups=groups, rate=rate, warmup=warmup)


class FunctionSchedule(DecoratedFunction):
    """A schedule of a decorated function."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Call the function with what it takes."""
        result: float = self.call(step=step, steps=steps, warmup=warmup, rate=rate)
        return result


class FunctionSampler(DecoratedFunction):
    """A sampler of a decorated function."""

    def order(self, lengths: NDArray[np.int64], batch: int, steps: int, seed: int) -> Iterable[Sequence[int]]:
        """Call the function with what it takes."""
        result: Iterable[Sequence[int]] = self.call(lengths=lengths, batch=batch, steps=steps, seed=seed)
        return result


class FunctionCallback(DecoratedFunction):
    """A callback of a decorated function, with a dict as its state."""

    def __init__(self, function: Callable[..., Any], config: CallbackConfig, *, names: tuple[str, ...]) -> None:
        super().__init__(function, config, names=names)
        self.memory: dict[str, Any] = {}

    def on_step(self, step: Step) -> StepControl | None:
        """Call the function with what it takes."""
        result: StepControl | None = self.call(step=step, state=self.memory)
        return result

    def state(self) -> Mapping[str, Any]:
        """Return the dict."""
        return self.memory

    def restore(self, state: Mapping[str, Any]) -> None:
        """Start with a saved one."""
        self.memory = copy.deepcopy(dict(state))


class FunctionLoss:
    """An objective of a decorated function."""

    def __init__(self, function: Callable[..., Any], config: LossConfig, *, ids_of: str) -> None:
        self.function, self.ids_of = function, ids_of
        self.linear, self.needs_reference, self.whole_step = config.linear, config.needs_reference, config.whole_step
        self.options = [config] if len(inspect.signature(function).parameters) > 1 else []

    def ids(self, group: TokenGroup) -> Any:
        """Return the array that the decorator names."""
        return group.arrays[self.ids_of] if self.ids_of else None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Call the function; the trainer checks what it returns."""
        result = self.function(scores, *self.options)
        return result if isinstance(result, LossValue) else LossValue(result)


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
            FrameworkError: a field is missing, or a turn is not text.
        """
        kind = self.function.__name__
        for name in self.fields:
            if name not in fields:
                raise FrameworkError(
                    f"format {kind} needs the field '{name}'; the row has {', '.join(map(str, fields)) or 'none'}"
                )
        try:
            made = self.function(fields, *self.options)
            if isinstance(made, Example):
                return dataclasses.replace(made, format=kind)
            turns = [turn if isinstance(turn, Message) else Message(*turn) for turn in made]
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
