"""Conversations -> token rows, by the tokenizer's own chat template, with labels on the assistants' turns only.

Templates with and without generation markers are treated alike. The whole conversation is rendered once, and for each
assistant's turn the prompt that inference would use: its tokens must be the first tokens of the row, so what is learned
is exactly what will be generated, from the end of the prompt up to the turn's stop token. Earlier turns are rendered as
they were the last, too, since some templates rewrite a turn once others follow. A row for which any of this does not
hold says so in `TokenRow.problem`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from framework.api.backend import code_hash, hash_of
from framework.api.conversations import END, for_each_answer, with_thoughts
from framework.api.errors import FrameworkError
from framework.api.records import IGNORE, Example, Message, TokenRow
from framework.api.schema import Learn, Thoughts
from framework.api.text import summarize_error
from framework_plugins.hf import message_check, template_switches
from framework_plugins.hf.drafts import Draft
from framework_plugins.hf.loss_mask import PER_ANSWER, Labels
from framework_plugins.hf.masks import Prompts
from framework_plugins.hf.render import Job, Renderer, as_turns
from framework_plugins.hf.round_trip import RoundTrip

__all__ = ["IGNORE", "Chat"]
Render = Callable[[Job], str | FrameworkError]
MOST_PROBLEMS = 20
"""Different problems for which the switches of a template are tried."""
PORTION = 1 << 19
"""Characters that are tokenized at a time: what the tokenizer keeps of a text takes 50 times its size."""


class Chat:
    """Conversations as a model writes them.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        stop_ids: the token ids that end generation; each assistant's turn must end with one of them.
        settings: switches of the template, `chat_template_kwargs`.
        learn: which turns; a row for each answer is made before, and of such a row the last answer is learned.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: frozenset[int],
        settings: Mapping[str, Any] | None = None,
        *,
        learn: Learn = Learn.assistant,
    ) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.settings = dict(settings or {})
        self.learn = learn
        self._renderer = Renderer(tokenizer, self.settings)
        self._prompts = Prompts(tokenizer)
        whole = learn is Learn.everything
        self._labels = Labels(tokenizer, stop_ids, self._prompts, self._continued, whole=whole)
        self._round_trip = RoundTrip(tokenizer.backend_tokenizer)
        self._advice: dict[tuple[str, bool, bool, bool], str] = {}

    @functools.cached_property
    def key(self) -> str:
        """A hash over all that `encode` depends on besides the examples."""
        tokenizer = self._ready()
        named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        core = (tokenizer.backend_tokenizer.to_str(), named, tokenizer.split_special_tokens)
        parts = (tokenizer.chat_template, self.settings, sorted(self.stop_ids), self.learn.value)
        return hash_of(*core, *parts, self._probe, code_hash(Chat))

    @property
    def _probe(self) -> str:
        """A short prompt as it is rendered now: some templates write the date."""
        try:
            return self.prompt([Message("user", "a")])
        except FrameworkError as error:
            return str(error)

    def _ready(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer as inference uses it: a call switches off the cutting and padding its file asks for."""
        self.tokenizer("", add_special_tokens=False)
        return self.tokenizer

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Render what inference is given: the turns, and the opening of the assistant's next one.

        Raises:
            FrameworkError: the template refuses the turns.
        """
        return self._renderer.text(Job(as_turns(messages), tools, prompt=True))

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Tokenize and label conversations; what cannot be proven is said in `TokenRow.problem`.

        Where a switch of the template makes a row exact, the problem names it.
        """
        pairs = zip(examples, self._encode(examples), strict=True)
        return [self._advised(example, row) if row.problem else row for example, row in pairs]

    def _encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        render = self._renderer.one_by_one()
        drafts = (self._draft(example, render) for example in examples)
        return [row for portion in _portions(drafts, _length) for row in self._rows(portion)]

    def _advised(self, example: Example, row: TokenRow) -> TokenRow:
        """Name the switch instead of other advice; it is tried for the first row of a kind with a problem."""
        kind = row.problem, *_kind(example)
        if example.text is not None or (kind not in self._advice and len(self._advice) >= MOST_PROBLEMS):
            return row
        if kind not in self._advice:
            self._advice[kind] = self._advice_for(example, row.problem)
        return dataclasses.replace(row, problem=self._advice[kind])

    def _advice_for(self, example: Example, problem: str) -> str:
        """Return a problem with the settings that solve it, found by trying; else with the advice that it has."""
        ways = list(self._solutions(example))
        if ways:
            return _with_settings(problem, ways)
        if self.learn is Learn.assistant and problem.endswith(PER_ANSWER):  # which does not help either
            last = Chat(self.tokenizer, self.stop_ids, self.settings, learn=Learn.last)
            return last._encode([example])[0].problem or problem
        return problem

    def _solutions(self, example: Example) -> Iterator[str]:
        """Give what makes a row exact: with its thoughts as they are, else one way for each other place of them."""
        if way := self._solution(example, Thoughts.keep):
            yield way
            return
        for thoughts in (Thoughts.field, Thoughts.inline, Thoughts.drop):
            if (moved := with_thoughts(example, thoughts)) != example and (way := self._solution(moved, thoughts)):
                yield way

    def _solution(self, example: Example, thoughts: Thoughts) -> str:
        """Return the first settings with which a row is exact, its thoughts being there already; empty without one."""
        unchanged = thoughts is Thoughts.keep
        modes = [self.learn]
        if self.learn is Learn.assistant and sum(turn.role == "assistant" for turn in example.messages) > 1:
            modes += [Learn.each, Learn.last]
        for learn in modes:
            rows = list(for_each_answer(example)) if learn is Learn.each else [example]
            for values in template_switches.candidates(self._switches):
                if unchanged and learn is self.learn and not values:
                    continue
                other = Chat(self.tokenizer, self.stop_ids, {**self.settings, **values.given}, learn=learn)
                if not any(row.problem for row in other._encode(rows)):
                    words = [] if unchanged else [f"format.thoughts={thoughts.value}"]
                    words += [] if learn is self.learn else [f"data.learn={learn.value}"]
                    return " ".join([*words, *values.overrides])
        return ""

    @functools.cached_property
    def _switches(self) -> list[str]:
        return template_switches.names(self.tokenizer)

    def _draft(self, example: Example, render: Render) -> Draft:
        """Render a conversation, and measure its learned turns; of a dialogue's many prompts one is held at a time."""
        if example.text is not None:
            return Draft(example, example.text)
        turns, tools = as_turns(example.messages), example.tools
        whole = render(Job(turns, tools, prompt=False))
        if isinstance(whole, FrameworkError):
            return Draft(example, problem=str(whole))
        draft = Draft(example, whole)
        for number in self._learned(example.messages):
            prompt = render(Job(turns[:number], tools, prompt=True))
            last = number == len(turns) - 1
            alone = whole if last else render(Job(turns[: number + 1], tools, prompt=False))
            draft.learned[number] = self._labels.turn(draft, number, prompt, alone)
        return draft

    def _learned(self, messages: Sequence[Message]) -> list[int]:
        numbers = [n for n, message in enumerate(messages) if message.role == "assistant" and message.learned]
        return numbers if self.learn is Learn.assistant else numbers[-1:]

    def _continued(self, example: Example) -> list[int]:
        """Return the tokens of a conversation with one more question; none where the template refuses it."""
        turns = as_turns([*example.messages, Message("user", "a")])
        try:
            return self._prompts.ids(self._renderer.text(Job(turns, example.tools, prompt=False)))
        except FrameworkError:
            return []

    @functools.cached_property
    def appended(self) -> str:
        """The stop token that a last answer gets because the template writes none; empty where it writes one."""
        example = Example((Message("user", "a"), Message("assistant", "b")), "chatml")
        row, text = self._encode([example])[0], self._renderer.text(Job(as_turns(example.messages), (), prompt=False))
        written = len(self._prompts.ids(text))
        return str(self.tokenizer.convert_ids_to_tokens(row.input_ids[written])) if len(row.input_ids) > written else ""

    def _rows(self, drafts: Sequence[Draft]) -> Iterator[TokenRow]:
        core = self._ready().backend_tokenizer
        for draft, encoding in zip(drafts, _encodings(core, drafts), strict=True):
            draft.encoding, draft.ids = encoding, encoding.ids
            for turn in draft.learned.values():
                if turn.prompt >= 0:
                    turn.cut = self._prompts.cut(encoding, draft.ids, draft.text, turn.prompt)
        for portion in _portions(drafts, _tails):
            self._prompts.learn(turn.cut for draft in portion for turn in draft.learned.values() if turn.cut)
            yield from self._round_trip.checked(portion, [self._labels.row(draft) for draft in portion])


def _kind(example: Example) -> tuple[bool, bool, bool]:
    """Return what decides which switch helps: several answers, thoughts, tools."""
    answers = [message for message in example.messages if message.role == "assistant"]
    thoughtful = any(answer.reasoning_content or END in answer.content for answer in answers)
    return len(answers) > 1, thoughtful, bool(example.tools)


def _with_settings(problem: str, ways: Sequence[str]) -> str:
    """Put settings into the place of the advice, which follows the last colon."""
    what, _, advice = problem.rpartition(": ")
    known = advice.endswith((message_check.OTHER, PER_ANSWER))
    exact = "with which it is exact" if len(ways) == 1 else "with either of which it is exact"
    return f"{what if known else problem}: set {' or '.join(ways)}, {exact}"


def _length(draft: Draft) -> int:
    return len(draft.text)


def _tails(draft: Draft) -> int:
    return sum(len(turn.cut.tail) for turn in draft.learned.values() if turn.cut)


def _portions(drafts: Iterable[Draft], size: Callable[[Draft], int]) -> Iterator[list[Draft]]:
    """Give drafts in portions of about `PORTION` characters, at least one in each."""
    portion: list[Draft] = []
    total = 0
    for draft in drafts:
        portion.append(draft)
        total += size(draft)
        if total >= PORTION:
            yield portion
            portion, total = [], 0
    if portion:
        yield portion


def _encodings(core: Any, drafts: Sequence[Draft]) -> list[Any]:
    """Tokenize the texts; one that the tokenizer refuses becomes empty, with a problem."""
    try:
        encodings: list[Any] = core.encode_batch([draft.text for draft in drafts], add_special_tokens=False)
    except Exception:  # noqa: BLE001 - half of a surrogate pair in one of them: which, is found out below
        encodings = [_encoding(core, draft) for draft in drafts]
    return encodings


def _encoding(core: Any, draft: Draft) -> Any:
    try:
        return core.encode(draft.text, add_special_tokens=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, this row cannot be learned
        draft.problem = f"the tokenizer refuses the text: {summarize_error(error)}"
        draft.text, draft.learned = "", {}
        return core.encode("", add_special_tokens=False)
