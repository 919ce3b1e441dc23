"""A function with the signature of TRL's rewards as a reward: what is passed to it, and what it returns.

TRL's GRPOTrainer calls by keyword, with `prompts`, `completions`, `completion_ids`, a list for each field of the rows,
`trainer_state`, `log_extra` and `log_metric`. The answer to a text is a text; to messages, it is a list of messages.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, get_type_hints

from framework.api.protocols import Reward, RewardContext
from framework.api.records import Answer, Prompt, Sampled
from framework.api.schema import RewardConfig
from framework.api.scoring import question
from framework.util.errors import FrameworkError, error_location, summarize_error
from framework.util.guard import short_repr
from framework.util.time_limit import TookTooLongError, in_thread

__all__ = ["FunctionReward", "hints_of"]

PASSED = ("prompts", "completions", "completion_ids", "trainer_state", "log_extra", "log_metric")
"""What is passed besides the fields of the rows."""
ENVIRONMENTS = "environments"
"""What is passed, too, if the answers were made in environments."""
NOT_PASSED = frozenset({"prompt", "completion", "completion_ids"})
"""Fields of rows that TRL does not pass by their names."""


class TrainerState:
    """What a reward may read of TRL's `trainer_state`."""

    def __init__(self, context: RewardContext) -> None:
        self.global_step, self.max_steps = context.step, context.total_steps
        self.epoch = context.step / context.total_steps if context.total_steps else 0.0
        self.is_world_process_zero = True


class FunctionReward(Reward):
    """A reward of a function with TRL's signature, or of another object that is called so."""

    def __init__(self, function: Callable[..., Any], config: RewardConfig, *, options: str = "") -> None:
        self.function, self.config, self.options = function, config, options
        parameters = inspect.signature(function).parameters.values()
        self.takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        named = [
            parameter
            for parameter in parameters
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        ]
        self.names = [parameter.name for parameter in named if parameter.name != options]
        self.needs = [
            parameter.name for parameter in named if parameter.default is parameter.empty and parameter.name != options
        ]
        self.needs_environments = ENVIRONMENTS in self.needs
        kind: Any = type(function)  # of an object that is called, as TRL has some
        hint = str(hints_of(function if inspect.isfunction(function) else kind.__call__).get("completions", "")).lower()
        turns = any(word in hint for word in ("dict", "mapping", "list[list"))  # Dict of typing, too
        self.form = "" if "str" not in hint else "messages" if turns else "text"

    def rewards(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext
    ) -> Sequence[float | None]:
        """Call the function with what it takes."""
        arguments = self._arguments(prompts, answers, context)
        if unmet := [name for name in self.needs if name not in arguments]:
            fields = [name for name in arguments if name not in PASSED]
            raise FrameworkError(
                f"it reads '{unmet[0]}' of each row, and the rows have {', '.join(fields) or 'no such fields'}: "
                "add the field to the rows, or rename the parameter"
            )
        values = arguments if self.takes_all else {name: arguments[name] for name in self.names if name in arguments}
        if self.options:
            values[self.options] = self.config
        try:
            result = self.function(**values)
            return _wait_for(result, self.config.max_seconds) if inspect.isawaitable(result) else result  # type: ignore[no-any-return] # checked later
        except (TypeError, AttributeError, LookupError) as error:
            # The likeliest mistake is the form of the answers, which shows as one of these.
            form = "a text" if isinstance(arguments["completions"][0], str) else "a list with one message"
            hint = "list[list[dict]]" if form == "a text" else "list[str]"
            raise FrameworkError(
                f"{summarize_error(error)}{error_location(error)}; each answer is {form}: if it reads the other form, "
                f"annotate completions: {hint}"
            ) from error

    def _arguments(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext
    ) -> dict[str, Any]:
        """Return all keywords that TRL passes; rows with a reference have it as `reference` too."""
        fields = dict.fromkeys(name for prompt in prompts for name in prompt.columns if name not in NOT_PASSED)
        arguments: dict[str, Any] = {}
        if any(prompt.reference is not None for prompt in prompts):
            arguments["reference"] = [prompt.reference for prompt in prompts]
        arguments |= {name: [prompt.columns.get(name) for prompt in prompts] for name in fields}
        # By TRL's rule: the answer to a text is a text, that to messages a list of messages.
        texts = self.form == "text" or (not self.form and isinstance(prompts[0].columns.get("prompt"), str))
        arguments["prompts"] = [question(prompt) if texts else _messages(prompt) for prompt in prompts]
        arguments["completions"] = [answer.text if texts else _turns(answer) for answer in answers]
        arguments["completion_ids"] = [_ids(answer) for answer in answers]
        episodes = [answer.episode for answer in answers if isinstance(answer, Sampled) and answer.episode]
        if episodes:
            arguments[ENVIRONMENTS] = [episode.environment for episode in episodes]

        def log_extra(column: str, values: Sequence[Any]) -> None:
            if not isinstance(column, str):
                raise FrameworkError(f"it calls log_extra({short_repr(column)}, …): the name of a column is a text")
            context.columns.setdefault(column, []).extend(values)

        def log_metric(name: str, value: float) -> None:
            if not isinstance(name, str):
                raise FrameworkError(f"it calls log_metric({short_repr(name)}, …): the name of a metric is a text")
            context.metrics.setdefault(name, []).append(float(value))

        arguments |= {"trainer_state": TrainerState(context), "log_extra": log_extra, "log_metric": log_metric}
        return arguments


def _messages(prompt: Prompt) -> list[Mapping[str, Any]]:
    return [{"role": turn.role, "content": turn.content} for turn in prompt.messages]


def _turns(answer: Answer) -> list[Mapping[str, Any]]:
    if isinstance(answer, Sampled) and answer.episode:
        return [*answer.episode.turns]
    return [{"role": "assistant", "content": answer.text}]


def _ids(answer: Answer) -> list[int]:
    """Return the tokens of an answer, with the stop token if the model wrote it."""
    return answer.written if isinstance(answer, Sampled) else list(answer.ids)


def _wait_for(awaitable: Any, max_seconds: float) -> Any:
    import asyncio  # noqa: PLC0415 - for few rewards; it takes longer than all of this module

    async def wait() -> Any:
        try:
            async with asyncio.timeout(max_seconds) as limit:  # which closes what the function has open
                return await awaitable
        except TimeoutError:
            if limit.expired():
                raise TookTooLongError from None
            raise

    # In a thread of its own: this one may have a loop that runs, as in a notebook.
    return in_thread(partial(asyncio.run, wait()))


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotations of a function; none if they cannot be resolved."""
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - annotations of published functions name what their file does not import
        return {}
