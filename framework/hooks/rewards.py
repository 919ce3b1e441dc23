"""What is an option of `reward=`: each metric, and each function with TRL's signature of rewards that `@reward` marks.

    @reward
    def short(completions, **kwargs):
        '''1 for an answer of at most ten words.'''
        return [float(len(completion[0]["content"].split()) <= 10) for completion in completions]

It is called by keyword, with what TRL's GRPOTrainer passes: `prompts`, `completions`, `completion_ids`, a list for each
field of the rows, `trainer_state`, `log_extra` and `log_metric`. Answers to conversations are lists with one message.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass, make_dataclass
from typing import Any, get_type_hints

from framework.api.component import Component
from framework.api.protocols import RewardContext
from framework.api.records import Answer, Prompt, Sampled
from framework.api.schema import RewardConfig
from framework.api.scoring import question
from framework.hooks.decorated import Function, mark
from framework.util.errors import FrameworkError

PASSED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What is passed besides the fields of the rows."""
OF_METRIC = "as_reward"
"""The attribute of a metric's schema with the schema of the reward that it is."""
NOT_PASSED = frozenset({"prompt", "completion", "completion_ids"})
"""Fields of rows that TRL does not pass by their names."""


@dataclass
class FunctionRewardConfig(RewardConfig):
    """The options of a function that has none of its own."""


def as_reward(metric: Component) -> Component:
    """Return the option of `reward=` that a metric is: with its settings and a weight, made by its factory."""
    kept = vars(metric.schema).get(OF_METRIC)
    if kept is None:  # once: the class tells which option a config is
        kept = make_dataclass(f"{metric.schema.__name__}_{OF_METRIC}", [], bases=(RewardConfig, metric.schema))
        kept.__module__, kept.__doc__ = metric.schema.__module__, metric.schema.__doc__
        kept.__qualname__ = f"{metric.schema.__qualname__}.{OF_METRIC}"  # where pickle finds it
        setattr(metric.schema, OF_METRIC, kept)
    return dataclasses.replace(metric, schema=kept)


def reward(function: Function, /) -> Function:
    """Make a function an option of `reward=` with the function's name.

    It has the signature of a reward function of TRL's GRPOTrainer: it is called by keyword, takes what it needs of
    `prompts`, `completions`, `completion_ids`, `trainer_state`, `log_extra`, `log_metric` and the fields of the rows,
    each a list with an item for each answer, and returns a list with a number, or None, for each. It may be async. A
    parameter that is annotated with a subclass of `RewardConfig` gets the options. The docstring documents the option.

    Raises:
        TypeError: it is not a plain function.
    """
    if not inspect.isfunction(function):
        raise TypeError(f"{function!r} is not a function: decorate what `def` makes, above other decorators")
    hints = _hints(function)
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


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - annotations of published functions name what their file does not import
        return {}


class TrainerState:
    """What a reward may read of TRL's `trainer_state`."""

    def __init__(self, context: RewardContext) -> None:
        self.global_step, self.max_steps = context.step, context.total_steps
        self.epoch = context.step / context.total_steps if context.total_steps else 0.0
        self.is_world_process_zero = True


class FunctionReward:
    """A reward of a function with TRL's signature, or of another object that is called so."""

    def __init__(self, function: Callable[..., Any], config: RewardConfig, *, options: str = "") -> None:
        self.function, self.config, self.options = function, config, options
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters)
        named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        self.names = [each.name for each in named if each.name != options]
        self.needs = [each.name for each in named if each.default is each.empty and each.name != options]
        hint = str(_hints(function if inspect.isfunction(function) else type(function).__call__).get("completions", ""))
        self.form = "" if "str" not in hint else "messages" if "dict" in hint or "list[list" in hint else "text"

    def rewards(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext
    ) -> Sequence[float | None]:
        """Call the function with what it takes."""
        passed = self._passed(prompts, answers, context)
        if missing := [name for name in self.needs if name not in passed]:
            fields = [name for name in passed if name not in PASSED]
            raise FrameworkError(
                f"it reads '{missing[0]}' of each row, and the rows have {', '.join(fields) or 'no such fields'}: "
                "add the field to the rows, or rename the parameter"
            )
        values = passed if self.takes_all else {name: passed[name] for name in self.names if name in passed}
        if self.options:
            values[self.options] = self.config
        given = self.function(**values)
        return _awaited(given) if inspect.isawaitable(given) else given  # type: ignore[no-any-return] # checked later

    def _passed(self, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext) -> dict[str, Any]:
        """Return all keywords that TRL passes; rows with a reference have it as `reference` too."""
        fields = dict.fromkeys(name for prompt in prompts for name in prompt.columns if name not in NOT_PASSED)
        passed: dict[str, Any] = {}
        if any(prompt.reference is not None for prompt in prompts):
            passed["reference"] = [prompt.reference for prompt in prompts]
        passed |= {name: [prompt.columns.get(name) for prompt in prompts] for name in fields}
        # By TRL's rule: the answer to a text is a text, that to messages a list of messages.
        texts = self.form == "text" or (not self.form and isinstance(prompts[0].columns.get("prompt"), str))
        passed["prompts"] = [question(prompt) if texts else _messages(prompt) for prompt in prompts]
        passed["completions"] = [
            answer.text if texts else [{"role": "assistant", "content": answer.text}] for answer in answers
        ]
        passed["completion_ids"] = [_ids(answer) for answer in answers]

        def log_extra(column: str, values: Sequence[Any]) -> None:
            context.columns.setdefault(column, []).extend(values)

        def log_metric(name: str, value: float) -> None:
            context.metrics.setdefault(name, []).append(float(value))

        passed |= {"trainer_state": TrainerState(context), "log_extra": log_extra, "log_metric": log_metric}
        return passed


def _messages(prompt: Prompt) -> list[Mapping[str, Any]]:
    return [{"role": turn.role, "content": turn.content} for turn in prompt.messages]


def _ids(answer: Answer) -> list[int]:
    """Return the tokens of an answer, with the stop token if the model wrote it."""
    return list(answer.row.learned) if isinstance(answer, Sampled) else list(answer.ids)


def _awaited(given: Any) -> Any:
    import asyncio  # noqa: PLC0415 - for few rewards; it takes longer than all of this module
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - as above

    async def wait() -> Any:
        return await given

    # In a thread of its own: this one may have a loop that runs, as in a notebook.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, wait()).result()
