"""What is an option of `reward=`: each metric, and each function with TRL's signature of rewards that `@reward` marks.

    @reward
    def short(completions, **kwargs):
        '''1 for an answer of at most ten words.'''
        return [float(len(completion[0]["content"].split()) <= 10) for completion in completions]

`framework/api/reward_functions.py` calls it.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from dataclasses import dataclass, is_dataclass, make_dataclass

from framework.api.component import Component
from framework.api.reward_functions import FunctionReward, hints_of
from framework.api.schema import RewardConfig
from framework.hooks.decorated import Function, mark

OF_METRIC = "as_reward"
"""The attribute of a metric's schema with the schema of the reward that it is."""


@dataclass
class FunctionRewardConfig(RewardConfig):
    """The options of a function that has none of its own."""


def as_reward(metric: Component) -> Component:
    """Return the option of `reward=` that a metric is: with its settings and a weight, made by its factory."""
    schema = vars(metric.schema).get(OF_METRIC)
    if schema is None:  # once: the class tells which option a config is
        schema = make_dataclass(f"{metric.schema.__name__}_{OF_METRIC}", [], bases=(RewardConfig, metric.schema))
        schema.__module__, schema.__doc__ = metric.schema.__module__, metric.schema.__doc__
        schema.__qualname__ = f"{metric.schema.__qualname__}.{OF_METRIC}"  # where pickle finds it
        setattr(metric.schema, OF_METRIC, schema)
    return dataclasses.replace(metric, schema=schema)


def reward(function: Function, /) -> Function:
    """Make a function an option of `reward=` with the function's name.

    It has the signature of a reward function of TRL's GRPOTrainer: it is called by keyword, takes what it needs of
    `prompts`, `completions`, `completion_ids`, `trainer_state`, `log_extra`, `log_metric` and the fields of the rows,
    each a list with an item for each answer, and returns a list with a number, or None, for each. It may be async. A
    parameter that is annotated with a subclass of `RewardConfig` gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function.
    """
    target: object = function
    if not inspect.isfunction(target):
        raise TypeError(f"{function!r} is not a function: decorate what `def` makes, above other decorators")
    hints = hints_of(function)
    options = [name for name, hint in hints.items() if _is_config(hint)]
    if len(options) > 1:
        raise TypeError(f"{function.__module__}.{function.__qualname__} has several options: {', '.join(options)}")
    base = hints[options[0]] if options else FunctionRewardConfig
    schema = make_dataclass(f"{function.__name__}_config", [], bases=(base,))
    schema.__module__ = function.__module__
    schema.__doc__ = function.__doc__ or f"`{function.__name__}` of {function.__module__}."
    schema.__qualname__ = f"{function.__qualname__}.schema"  # where pickle finds it
    kind = functools.partial(FunctionReward, options=options[0] if options else "")
    return mark(function, schema, kind)


def _is_config(hint: object) -> bool:
    return isinstance(hint, type) and is_dataclass(hint) and issubclass(hint, RewardConfig)
