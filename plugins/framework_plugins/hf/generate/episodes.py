"""Answers with tools: the model calls methods of an environment, reads what they return, and continues.

As TRL does it: an answer is what the model writes and what its tools return, up to a turn without a call, to
`max_new_tokens` or to `most_calls` turns with calls. What does not fit any more is left out. The model learns the
tokens that it wrote itself. A tool that raises tells the model `{'error': …}`; `reset` and `get_reward` must not raise.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from transformers import PreTrainedTokenizerBase
from transformers.utils import get_json_schema
from trl.chat_template_utils import (
    get_training_chat_template,
    is_chat_template_prefix_preserving,
    supports_tool_calling,
)

from framework import FrameworkError
from framework.api import Caught, Guard, Message, Prompt, error_location, message_of, rewarding, summarize_error
from framework.api.training import Episode, Sampled, SamplingParams, TokenRow, environments
from framework_plugins.hf.generate.calls import CallParser
from framework_plugins.hf.generate.generate import to_answer
from framework_plugins.hf.generate.sample import Drawn

PATIENCE = 32
"""Calls of which the first ones may all fail before the run ends: then the model reads nothing but errors."""
Turn = dict[str, Any]
Draw = Callable[[Sequence[Sequence[int]], SamplingParams], Sequence[Sequence[Drawn]]]
"""Continues rows of token ids."""


@dataclass
class _Answer:
    """An answer while it is made: what was written, with the turns so far."""

    prompt: Prompt
    environment: Any
    start: list[int]
    turns: list[Turn] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    stopped: bool = False
    calls: int = 0
    failed: int = 0

    def add(self, ids: Sequence[int], log_probs: Sequence[float] | None) -> None:
        """Append tokens; without log-probabilities they are those of a tool."""
        self.ids += ids
        self.labels += [TokenRow.IGNORE] * len(ids) if log_probs is None else ids
        self.log_probs += log_probs or ()


def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and end what environments have left in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _readable(text: str) -> str:
    """Spell out half a surrogate pair, which file names may have and no tokenizer reads."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Episodes:
    """Draws answers in environments.

    Args:
        factory: makes an environment; it is used again for later answers.
        tokenizer: of the model.
        stop_ids: the tokens that end a turn.
        render: writes a prompt, with the opening of the model's turn.
        most_calls: turns with calls in an answer; None: no limit.
        limit: the most tokens of a prompt and its answer, trainer.max_seq_length.

    Raises:
        FrameworkError: the chat template has no tools, or nothing is known to read its calls.
    """

    def __init__(
        self,
        factory: Callable[[], Any],
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: frozenset[int],
        render: Callable[[Prompt], str],
        most_calls: int | None,
        limit: int,
    ) -> None:
        self.factory, self.stop_ids, self.render, self.most_calls = factory, stop_ids, render, most_calls
        self.limit = limit
        if not supports_tool_calling(tokenizer):
            raise FrameworkError(
                f"{environments.SETTING} needs tools, and the chat template of the model does not write them: "
                "choose a model that was trained with tools, such as Qwen3"
            )
        try:
            self.parser = CallParser(tokenizer)
            self.tokenizer = self.parser.tokenizer
            keeps = is_chat_template_prefix_preserving(self.tokenizer)
            self.template = None if keeps else get_training_chat_template(self.tokenizer)
        except ValueError as error:
            raise FrameworkError(
                f"{environments.SETTING} needs to read calls, and TRL does not know those of this chat template: set "
                f"`response_template` in the model's tokenizer_config.json ({summarize_error(error)})"
            ) from error
        self.pool = [self._create_environment()]
        self.schemas = [*self._schemas(self.pool[0])]
        self.calls = self.failed = 0
        self.loop: asyncio.AbstractEventLoop | None = None

    def __call__(self, prompts: Sequence[Prompt], params: SamplingParams, draw: Draw) -> list[list[Sampled]]:
        """Draw answers to each prompt."""
        n, max_tokens = params.n, params.max_new_tokens
        while len(self.pool) < n * len(prompts):
            self.pool.append(self._create_environment())
        prompt_copies = [prompt for prompt in prompts for _ in range(n)]
        answers = [
            self._begin(prompt, environment, max_tokens)
            for prompt, environment in zip(prompt_copies, self.pool, strict=False)
        ]
        at_work, turn = answers, 0
        while at_work:
            starts = [answer.start + answer.ids for answer in at_work]
            room = [max_tokens - len(answer.ids) for answer in at_work]
            # What is asked several times is read once.
            copies = (
                n
                if len(starts) == len(prompt_copies) and starts == [start for start in starts[::n] for _ in range(n)]
                else 1
            )
            now = replace(params, n=copies, max_new_tokens=max(room), seed=params.seed | turn << 96)
            groups = draw(starts[::copies], now)
            samples = [sample for group in groups for sample in group]
            calls = [self._add_turn(*arguments) for arguments in zip(at_work, samples, room, strict=True)]
            may = self.most_calls is None or turn < self.most_calls
            at_work = [
                answer
                for answer, turn_calls in zip(at_work, calls, strict=True)
                if may and turn_calls and self._add_results(answer, turn_calls, max_tokens)
            ]
            turn += 1
        sampled = [self._sampled(answer) for answer in answers]
        return [sampled[start : start + n] for start in range(0, len(sampled), n)]

    def _create_environment(self) -> Any:
        with Guard(f"{environments.SETTING} cannot be made"):
            environment = self.factory()
        if not callable(getattr(environment, environments.RESET, None)):
            raise FrameworkError(
                f"{environments.SETTING} makes a {type(environment).__name__}, without a method "
                f"`{environments.RESET}`: give "
                "a class that has one, or a function that returns such an object"
            )
        return environment

    def _schemas(self, environment: Any) -> Iterator[Mapping[str, Any]]:
        """Describe the tools, as a chat template reads them."""
        for name, tool in environments.tools_of(environment).items():
            try:
                yield get_json_schema(tool)
            except Exception as error:
                raise FrameworkError(
                    f"{environments.SETTING}: the tool {type(environment).__name__}.{name} cannot be described to the "
                    f"model: {summarize_error(error)}. Annotate its parameters, and describe each below `Args:`"
                ) from error

    def _begin(self, prompt: Prompt, environment: Any, max_tokens: int) -> _Answer:
        """Reset an environment for a row, and ask."""
        asks = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
        row = {"prompt": asks, **prompt.columns}
        observation = self._call_required(prompt, environment, environments.RESET, **row)
        messages = prompt.messages
        if observation is not None:
            if not isinstance(observation, str):
                raise FrameworkError(
                    f"{type(environment).__name__}.reset returned {observation!r:.60} for "
                    f"{rewarding.place_of(prompt)}: "
                    "return a text, which is appended to the question, or None"
                )
            question = messages[-1]
            messages = (
                *messages[:-1],
                Message(question.role, question.content + _readable(observation), name=question.name),
            )
        full_prompt = Prompt(messages, prompt.reference, (*prompt.tools, *self.schemas), prompt.where)
        ids: list[int] = self.tokenizer(self.render(full_prompt), add_special_tokens=False)["input_ids"]
        if len(ids) + max_tokens > self.limit:
            kind = type(environment).__name__
            raise FrameworkError(
                f"{rewarding.place_of(prompt)} has {len(ids)} tokens with its tools and what {kind}.reset adds. That "
                f"and an answer of method.max_completion_length={max_tokens} are longer than "
                f"trainer.max_seq_length={self.limit}: set trainer.max_seq_length={len(ids) + max_tokens}, or let "
                "reset return less"
            )
        return _Answer(prompt, environment, ids)

    def _call_required(self, prompt: Prompt, environment: Any, name: str, /, **arguments: Any) -> Any:
        """Call a method that an environment must have, and return its result."""
        with Guard(lambda: f"{type(environment).__name__}.{name} fails for {rewarding.place_of(prompt)}"):
            result = getattr(environment, name)(**arguments)
            return self._wait_for(result) if inspect.isawaitable(result) else result

    def _add_turn(self, answer: _Answer, sample: Drawn, room: int) -> Sequence[Any]:
        """Add what the model has written, and return the calls in it."""
        before = answer.start + answer.ids
        answer.last, log_probs = sample.ids[:room], sample.log_probs[:room]
        answer.stopped = sample.stopped and len(sample.ids) <= room
        answer.add(answer.last, log_probs)
        turn = self.parser.turn(answer.last, before, self.schemas)
        answer.turns.append({"role": "assistant", **turn})
        return turn.get("tool_calls") or () if answer.stopped else ()

    def _add_results(self, answer: _Answer, calls: Sequence[Any], max_tokens: int) -> bool:
        """Make the calls of a turn, and add their results if there is room for them."""
        results = [self._result(answer, call) for call in calls]
        ids = self._result_ids(results)
        if len(answer.ids) + len(ids) >= max_tokens:
            return False
        answer.turns += results
        answer.add(ids, None)
        return True

    def _result(self, answer: _Answer, call: Mapping[str, Any]) -> Turn:
        """Call a tool, and return its turn."""
        function = call.get("function") or {}
        name = str(function.get("name", ""))
        answer.calls += 1
        self.calls += 1
        failed = Caught()
        with failed:
            tool = environments.tools_of(answer.environment).get(name)
            if tool is None:
                raise ValueError(f"Tool {name} not found.")  # told to the model, as what a tool raises
            output = tool(**function.get("arguments", {}))
            result = str(self._wait_for(output) if inspect.isawaitable(output) else output)
        if error := failed.error:
            answer.failed += 1
            self.failed += 1
            if self.failed == self.calls >= PATIENCE:
                raise FrameworkError(
                    f"all of the first {self.calls} calls of tools fail, the last one for "
                    f"{rewarding.place_of(answer.prompt)}: {type(answer.environment).__name__}.{name}: "
                    f"{summarize_error(error)}{error_location(error)}"
                ) from error
            result = str({"error": message_of(error)})
        return {"role": "tool", "name": name, "content": _readable(result)}

    def _result_ids(self, results: Sequence[Turn]) -> list[int]:
        """Return what the chat template writes for results, from the end of the model's turn to its next one."""
        call = {"type": "function", "function": {"name": results[0]["name"], "arguments": {}}}
        before = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        render = functools.partial(
            self.tokenizer.apply_chat_template, tokenize=True, return_dict=False, chat_template=self.template
        )
        call_ids: list[int] = render(before)
        full_ids: list[int] = render([*before, *results], add_generation_prompt=True)
        end = max((index + 1 for index, token in enumerate(call_ids) if token in self.stop_ids), default=len(call_ids))
        if full_ids[:end] != call_ids[:end]:
            raise FrameworkError(
                f"{environments.SETTING}: the chat template writes a turn differently if the result of a tool follows"
            )
        return full_ids[end:]

    def _wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """Await in one loop for all calls: what an environment has open belongs to it."""
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
            threading.Thread(target=_run_loop, args=(self.loop,), daemon=True).start()
            weakref.finalize(self, self.loop.call_soon_threadsafe, self.loop.stop)

        async def wait() -> Any:
            return await awaitable

        future = asyncio.run_coroutine_threadsafe(wait(), self.loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def _sampled(self, answer: _Answer) -> Sampled:
        scores: dict[str, float | None] = {}
        if environments.scores_itself(answer.environment):
            kind = type(answer.environment).__name__
            reward = self._call_required(answer.prompt, answer.environment, environments.GET_REWARD)
            scores[kind] = rewarding.number(kind, reward, answer.prompt)
        text = to_answer(self.tokenizer, answer.last, self.stop_ids).text
        row = TokenRow(
            answer.start + answer.ids, [TokenRow.IGNORE] * len(answer.start) + answer.labels, answer.prompt.where
        )
        episode = Episode(tuple(answer.turns), answer.environment, scores, answer.calls, answer.failed)
        return Sampled(
            text, len(answer.log_probs), answer.stopped, tuple(answer.ids), row=row, log_probs=tuple(answer.log_probs),
            episode=episode,
        )  # fmt: skip
