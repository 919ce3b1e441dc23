"""Decorators for the parts of a training: losses, methods, optimizers, schedules, samplers and callbacks."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from framework.api.protocols import OptimizerFactory
from framework.api.protocols.objectives import LossValue
from framework.api.schema import (
    CallbackConfig,
    LossConfig,
    MethodConfig,
    OptimizerConfig,
    SamplerConfig,
    ScheduleConfig,
)
from framework.hooks.decorated import DecoratedFunction, Function, mark, mark_class, signature
from framework.util.guard import short_repr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from framework.api.protocols import ParameterGroup, TokenScores, TrainedWeight
    from framework.api.records import Step, StepControl, TokenGroup

C = TypeVar("C", bound=type)


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
        TypeError: it is not a plain function, has other parameters, or no docstring; `state_bytes` is not a number.
    """
    is_number = isinstance(state_bytes, int | float) and not isinstance(state_bytes, bool)
    if state_bytes is not None and not (is_number and 0 <= state_bytes <= sys.float_info.max):
        raise TypeError(f"@optimizer takes bytes for each parameter: state_bytes=8, not {short_repr(state_bytes)}")

    def decorate(function: Function) -> Function:
        names, schema = signature(function, ("groups", "rate", "warmup"), OptimizerConfig, needed=2)
        schema.shards = shards  # type: ignore[attr-defined] # the attribute of OptimizerConfig
        return mark(function, schema, functools.partial(FunctionOptimizer, names=names, bytes_each=state_bytes))

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
    of_logits: Sequence[Callable[..., Any]] = (),
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
    of_logits: Sequence[Callable[..., Any]] = (),
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
        of_logits: functions of all logits at a token, as in `ReadsLogits`; arrays that they name are of `arrays`.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring; `facts` or `arrays` are not lists
            of names.
    """
    for name, names in (("facts", facts), ("arrays", arrays)):
        if isinstance(names, str) or not all(isinstance(item, str) for item in names):
            raise TypeError(f"@loss takes names as a tuple: {name}=('weight',), not {name}={names!r}")
    if linear and of_logits:
        raise TypeError(
            "@loss takes of_logits without linear=True: such a loss is not a weighted sum of log-probabilities"
        )
    read = [name for of in of_logits for name in [*inspect.signature(of).parameters][1:] if name != "reference"]
    requirements = {"facts": tuple(facts), "arrays": tuple(dict.fromkeys([*arrays, *([ids] if ids else []), *read]))}
    flags = {"linear": linear, "needs_reference": needs_reference, "whole_step": whole_step}

    def decorate(function: Function) -> Function:
        _, schema = signature(function, ("scores",), LossConfig)
        for name, value in {**flags, **requirements}.items():
            setattr(schema, name, value)
        return mark(function, schema, functools.partial(FunctionLoss, ids_of=ids, of_logits=tuple(of_logits)))

    return decorate if function is None else decorate(function)


def method(product: C, /) -> C:
    """Make a class an option of `method=`, named after the class: `class SlicHf` is `method=slic_hf`.

    It has what `Method` has. The annotation of its attribute `config` is a dataclass of its options, a subclass of
    `MethodConfig`. If it can be called with `TokenScores`, it is its own objective, as in `Objective`. The docstring
    documents the option.

    Raises:
        TypeError: it is not a class, or lacks the annotation or the docstring.
    """
    mark_class(product, MethodConfig)
    extended: Any = product
    if extended.__init__ is object.__init__:
        extended.__init__ = _keep_config
    if any("__call__" in vars(base) for base in product.__mro__):
        extended.schema.own_objective = True
        for name, default in (("linear", False), ("needs_reference", False), ("whole_step", False), ("ids", _no_ids)):
            if not hasattr(product, name):
                setattr(product, name, default)
    return product


def _keep_config(method: Any, config: MethodConfig) -> None:
    """Initialize a method that has no `__init__`."""
    method.config, method.objective = config, method if callable(method) else None


def _no_ids(_: Any, group: TokenGroup) -> None:
    """Read the learned tokens."""


def schedule(function: Function, /) -> Function:
    """Make a function an option of `schedule=` with the function's name.

    It takes the steps that are done, those of the training and those of the warm-up, `(step, steps, warmup)`, and
    returns the factor on the learning rate. It has to be pure. A parameter `rate` gets the learning rate, and a last
    one, annotated with a subclass of `ScheduleConfig`, the options. Without `warmup` it has no warm-up. The docstring
    documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = signature(function, ("step", "steps", "warmup", "rate"), ScheduleConfig, needed=2)
    schema.warms_up = "warmup" in names  # type: ignore[attr-defined] # the attribute of ScheduleConfig
    return mark(function, schema, functools.partial(FunctionSchedule, names=names))


def sampler(function: Function, /) -> Function:
    """Make a function an option of `sampler=` with the function's name.

    It takes the tokens of each row, the rows of an optimizer step, the number of steps and the seed,
    `(lengths, batch, steps, seed)`, and yields the numbers of the rows of each step. A last parameter, annotated with a
    subclass of `SamplerConfig`, gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = signature(function, ("lengths", "batch", "steps", "seed"), SamplerConfig, needed=2)
    return mark(function, schema, functools.partial(FunctionSampler, names=names))


def callback(function: Function, /) -> Function:
    """Make a function an option of `callback=` with the function's name.

    It takes a log entry, `(step)`, and returns a `StepControl`, or None for nothing. A parameter `state` gets a dict
    that starts empty and is saved with each checkpoint; it may hold numbers, texts, lists and dicts. A last one,
    annotated with a subclass of `CallbackConfig`, gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function, has other parameters, or no docstring.
    """
    names, schema = signature(function, ("step", "state"), CallbackConfig)
    return mark(function, schema, functools.partial(FunctionCallback, names=names))


class FunctionOptimizer(DecoratedFunction, OptimizerFactory):
    """An optimizer of a decorated function."""

    def __init__(
        self, function: Callable[..., Any], config: OptimizerConfig, *, names: tuple[str, ...], bytes_each: float | None
    ) -> None:
        super().__init__(function, config, names=names)
        self.bytes_each = bytes_each

    def state_bytes(self, weights: Sequence[TrainedWeight], *, on_gpu: bool) -> float | None:  # noqa: ARG002 - the same
        """Return what the decorator says of each parameter, for all."""
        bytes_each = self.bytes_each
        return None if bytes_each is None else bytes_each * sum(math.prod(weight.shape) for weight in weights)

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


class FunctionLoss(DecoratedFunction):
    """An objective of a decorated function."""

    def __init__(
        self,
        function: Callable[..., Any],
        config: LossConfig,
        *,
        ids_of: str,
        of_logits: Sequence[Callable[..., Any]] = (),
    ) -> None:
        super().__init__(function, config, names=("scores",))
        self.ids_of, self.of_logits = ids_of, of_logits
        self.linear, self.needs_reference, self.whole_step = config.linear, config.needs_reference, config.whole_step

    def ids(self, group: TokenGroup) -> Any:
        """Return the array that the decorator names."""
        return group.arrays[self.ids_of] if self.ids_of else None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Call the function; the trainer checks what it returns."""
        result = self.call(scores=scores)
        return result if isinstance(result, LossValue) else LossValue(result)
