"""Conversations -> token rows, by the tokenizer's own chat template, with labels on the assistants' turns only.

Templates with and without generation markers are treated the same. The whole conversation is rendered once, and for
each assistant's turn the prompt that inference would use: its tokens must be the first tokens of the row, so what is
learned is exactly what will be generated, from the end of the prompt up to the turn's stop token. Earlier turns are
rendered as they were the last, too, since some templates rewrite a turn once others follow. A row for which any of this
does not hold says so in `TokenRow.problem` (decision 0012).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api import Example, Learn, Message, key_of, summarize_error
from framework.api.training import Thoughts, TokenRow
from framework_plugins.hf.load.tokenizer import fitting_templates
from framework_plugins.hf.tokens import template_switches
from framework_plugins.hf.tokens.loss_mask import PER_ANSWER, Draft, LossMask
from framework_plugins.hf.tokens.message_check import OTHER_TEMPLATE, Remedied
from framework_plugins.hf.tokens.prompt_tokens import PromptTokens
from framework_plugins.hf.tokens.render import Job, Renderer
from framework_plugins.hf.tokens.round_trip import RoundTrip
from framework_plugins.lib.chat_templates import CHAT_TEMPLATES
from framework_plugins.lib.turns import as_turns

__all__ = ["Chat"]
Render = Callable[[Job], str | FrameworkError]
MAX_PROBLEM_KINDS = 20
"""Kinds of rows with a problem for which settings are tried."""
MAX_ROWS_TRIED = 20
"""Rows of a kind with which they are tried."""
MAX_SOLUTIONS = 5
"""Settings that make the first row exact of which the best is taken."""
READS_PARTS = Remedied(
    "the chat template reads a turn as a list of parts, as those of vision models do, and leaves out text",
    OTHER_TEMPLATE,
)
TIME_FUNCTION = "strftime_now"
"""The function with which a template writes the date, or the time to the second: inference writes that of its own."""
PORTION_CHARACTERS = 1 << 19
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
        self._prompts = PromptTokens(tokenizer)
        learn_all = learn is Learn.everything
        self._loss_mask = LossMask(tokenizer, stop_ids, self._prompts, self._ids_with_next_turn, learn_all=learn_all)
        self._round_trip = RoundTrip(tokenizer.backend_tokenizer)
        self._advice: dict[_RowKind, str] = {}

    @functools.cached_property
    def key(self) -> str:
        """A hash over all that `encode` depends on besides the examples."""
        tokenizer = self._inference_tokenizer()
        named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        core = (tokenizer.backend_tokenizer.to_str(), named, tokenizer.split_special_tokens)
        parts = (tokenizer.chat_template, self.settings, sorted(self.stop_ids), self.learn.value)
        return key_of(*core, *parts, self._probe, code=[Chat])

    @property
    def _probe(self) -> str:
        """A short prompt as it is rendered now: some templates write the date."""
        try:
            return self.prompt([Message("user", "a")])
        except FrameworkError as error:
            return str(error)

    def _inference_tokenizer(self) -> PreTrainedTokenizerBase:
        """Return the tokenizer as inference uses it: a call switches off the cutting and padding its file asks for."""
        self.tokenizer("", add_special_tokens=False)
        return self.tokenizer

    def prompt(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Render the prompt of inference: the turns, and the opening of the assistant's next one.

        Raises:
            FrameworkError: the template refuses the turns.
        """
        return self._renderer.text(Job(as_turns(messages), tools, prompt=True))

    def encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        """Tokenize and label conversations; `TokenRow.problem` names what is not proven.

        Where settings make a row exact, the problem names them; they are tried with some rows of each kind.
        """
        rows, kinds = self._encode(examples), dict[_RowKind, list[int]]()
        for index, (example, row) in enumerate(zip(examples, rows, strict=True)):
            if row.problem and example.text is None:
                kinds.setdefault(_kind_of_row(example, row.problem), []).append(index)
        for kind, indexes in kinds.items():
            if kind not in self._advice and len(self._advice) < MAX_PROBLEM_KINDS:
                sample = indexes[:: -(-len(indexes) // MAX_ROWS_TRIED)]
                self._advice[kind] = self._advice_for([examples[index] for index in sample], kind.problem)
            for index in indexes:
                rows[index] = dataclasses.replace(rows[index], problem=str(self._advice.get(kind, kind.problem)))
        return rows

    def _encode(self, examples: Sequence[Example]) -> list[TokenRow]:
        render = self._renderer.make_render()
        drafts = (self._make_draft(example, render) for example in examples)
        return [row for portion in _portions(drafts, lambda draft: len(draft.text)) for row in self._rows(portion)]

    def _advice_for(self, examples: Sequence[Example], problem: str) -> str:
        """Return a problem with the settings that solve it, found by trying; else with other advice."""
        solutions = list(self._solutions(examples))
        if solutions:
            return _settings_advice(problem, solutions, len(examples))
        if self.learn is Learn.assistant and _remedy(problem) == PER_ANSWER:  # which does not help either
            chat = Chat(self.tokenizer, self.stop_ids, self.settings, learn=Learn.last)
            problem = chat._encode(examples[:1])[0].problem or problem
        if _remedy(problem) != OTHER_TEMPLATE:
            return problem
        if self._renderer.reads_parts(Job(as_turns(examples[0].messages), examples[0].tools, prompt=False)):
            return READS_PARTS
        named = self._find_template(examples[0])
        return f"{problem}, or model.chat_template={named}, with which it is exact" if named else problem

    def _solutions(self, examples: Sequence[Example]) -> Iterator[tuple[_Solution, int]]:
        """Give the settings that make the first row exact, and how many rows they make exact.

        With the thoughts as they are, else one way for each other place of them.
        """
        if solution := self._solution(examples, Thoughts.keep):
            yield solution
            return
        for thoughts in (Thoughts.field, Thoughts.inline, Thoughts.drop):
            moved = examples[0].with_thoughts(thoughts) != examples[0]
            if moved and (solution := self._solution(examples, thoughts)):
                yield solution

    def _solution(self, examples: Sequence[Example], thoughts: Thoughts) -> tuple[_Solution, int] | None:
        """Return the settings with which the first row is exact and, of a few, the most others."""
        solutions: list[tuple[_Solution, int]] = []
        modes = [self.learn]
        if self.learn is Learn.assistant and sum(turn.role == "assistant" for turn in examples[0].messages) > 1:
            modes += [Learn.each, Learn.last]
        for learn, values in itertools.product(modes, template_switches.candidates(self._switches)):
            solution = _Solution(thoughts, None if learn is self.learn else learn, values)
            if solution.overrides and self._count_solved(solution, examples[:1]):
                solutions.append((solution, 1 + self._count_solved(solution, examples[1:])))
                if solutions[-1][1] == len(examples) or len(solutions) == MAX_SOLUTIONS:
                    break
        return max(solutions, key=operator.itemgetter(1), default=None)

    def _count_solved(self, solution: _Solution, examples: Sequence[Example]) -> int:
        """Return how many rows settings make exact."""
        settings, learn, solved = {**self.settings, **solution.values.given}, solution.learn or self.learn, 0
        chat = Chat(self.tokenizer, self.stop_ids, settings, learn=learn)
        for example in examples:
            moved = example.with_thoughts(solution.thoughts)
            rows = list(moved.for_each_answer()) if learn is Learn.each else [moved]
            solved += not any(row.problem for row in chat._encode(rows))
        return solved

    def _find_template(self, example: Example) -> str:
        """Return the chat template by name that writes a row exactly, with tokens that the tokenizer has."""
        for name in fitting_templates(self.tokenizer):
            template, tokenizer = CHAT_TEMPLATES[name], copy.copy(self.tokenizer)
            tokenizer.chat_template = template.text
            stops = {*self.stop_ids, *([tokenizer.convert_tokens_to_ids(template.stop)] if template.stop else [])}
            chat = Chat(tokenizer, frozenset(stops), learn=self.learn)
            if template.tokens and not chat._encode([example])[0].problem:
                return name
        return ""

    @functools.cached_property
    def _switches(self) -> list[str]:
        return template_switches.names(self.tokenizer)

    def _make_draft(self, example: Example, render: Render) -> Draft:
        """Render a conversation, again if the time of day that the template writes may have changed in between."""
        draft = self._render_once(example, render)
        if TIME_FUNCTION in str(self.tokenizer.chat_template) and any(turn.problem for turn in draft.learned.values()):
            return self._render_once(example, render)
        return draft

    def _render_once(self, example: Example, render: Render) -> Draft:
        """Render a conversation, and measure its learned turns; of a dialogue's many prompts one is held at a time."""
        if example.text is not None:
            return Draft(example, example.text)
        turns, tools = as_turns(example.messages), example.tools
        asks = example.is_prompt
        text = render(Job(turns, tools, prompt=asks))
        if isinstance(text, FrameworkError):
            return Draft(example, problem=Remedied.of(text))
        draft = Draft(example, text)
        for index in () if asks else self._learned_turns(example.messages):
            prompt = render(Job(turns[:index], tools, prompt=True))
            is_last = index == len(turns) - 1
            text_so_far = text if is_last else render(Job(turns[: index + 1], tools, prompt=False))
            draft.learned[index] = self._loss_mask.measure_turn(draft, index, prompt, text_so_far)
        return draft

    def _learned_turns(self, messages: Sequence[Message]) -> list[int]:
        numbers = [n for n, message in enumerate(messages) if message.role == "assistant" and message.learned]
        return numbers if self.learn is Learn.assistant else numbers[-1:]

    def _ids_with_next_turn(self, example: Example) -> list[int]:
        """Return the tokens of a conversation with the turn that comes next; none if the template refuses it.

        After calls the next turn is the tools' answer, or a question if the template knows no such turn.
        """
        calls = example.messages[-1].tool_calls
        results = [Message("tool", "a", name=call.name, tool_call_id=call.id) for call in calls]
        for next_turns in ([results] if results else []) + [[Message("user", "a")]]:
            turns = as_turns([*example.messages, *next_turns])
            with suppress(FrameworkError):
                return self._prompts.ids(self._renderer.text(Job(turns, example.tools, prompt=False)))
        return []

    @functools.cached_property
    def appended(self) -> str:
        """The stop token that a last answer gets because the template writes none; empty if it writes one."""
        example = Example((Message("user", "a"), Message("assistant", "b")), "chatml")
        row, text = self._encode([example])[0], self._renderer.text(Job(as_turns(example.messages), (), prompt=False))
        written = len(self._prompts.ids(text))
        return str(self.tokenizer.convert_ids_to_tokens(row.input_ids[written])) if len(row.input_ids) > written else ""

    def _rows(self, drafts: Sequence[Draft]) -> Iterator[TokenRow]:
        core = self._inference_tokenizer().backend_tokenizer
        for draft, encoding in zip(drafts, _tokenize(core, drafts), strict=True):
            draft.encoding, draft.ids = encoding, encoding.ids
            for turn in draft.learned.values():
                if turn.prompt >= 0:
                    turn.cut = self._prompts.cut(encoding, draft.ids, draft.text, turn.prompt)
        for portion in _portions(drafts, _tail_length):
            self._prompts.tokenize_tails(turn.cut for draft in portion for turn in draft.learned.values() if turn.cut)
            yield from self._round_trip.check_rows(portion, [self._loss_mask.row(draft) for draft in portion])


def check_ids(rows: Iterable[TokenRow], vocabulary: int, name: str) -> None:
    """Refuse tokens that a model does not have.

    Args:
        rows: made from texts.
        vocabulary: how many tokens it has.
        name: of the model.

    Raises:
        FrameworkError: a text becomes one of them.
    """
    for row in rows:
        if row.input_ids and (largest := max(row.input_ids)) >= vocabulary:
            raise FrameworkError(
                f"{row.where}: the tokenizer turns the text into token {largest}, and model {name} "
                f"has {vocabulary} tokens: restore its tokenizer.json"
            )


@dataclass(frozen=True)
class _RowKind:
    """The properties of a row that decide which settings help: problem, several answers, thoughts, tools."""

    problem: str
    several: bool
    thoughtful: bool
    tools: bool


def _kind_of_row(example: Example, problem: str) -> _RowKind:
    answers = [message for message in example.messages if message.role == "assistant"]
    thoughtful = any(answer.reasoning_content or Message.END_THOUGHT in answer.content for answer in answers)
    return _RowKind(problem, len(answers) > 1, thoughtful, bool(example.tools))


@dataclass(frozen=True)
class _Solution:
    """Settings that may make a row exact; `learn` is None if it does not change."""

    thoughts: Thoughts
    learn: Learn | None
    values: template_switches.SwitchValues

    @property
    def overrides(self) -> str:
        """The overrides to type."""
        words = [] if self.thoughts is Thoughts.keep else [f"format.thoughts={self.thoughts.value}"]
        words += [f"data.learn={self.learn.value}"] if self.learn else []
        return " ".join([*words, *self.values.overrides])


def _remedy(problem: str) -> str:
    return problem.remedy if isinstance(problem, Remedied) else ""


def _settings_advice(problem: str, solutions: Sequence[tuple[_Solution, int]], tried: int) -> str:
    """Replace the remedy of a problem by settings and how many rows they make exact."""
    cause = problem.cause if isinstance(problem, Remedied) else problem
    words = " or ".join(solution.overrides for solution, _ in solutions)
    which = "which" if len(solutions) == 1 else "either of which"
    if all(solved == tried for _, solved in solutions):
        exact = "it is exact" if tried == 1 else f"all {tried} rows tried are exact"
    else:
        which, exact = (
            "which",
            f"{' or '.join(str(solved) for _, solved in solutions)} of the {tried} rows tried are exact",
        )
    return f"{cause}: set {words}, with {which} {exact}"


def _tail_length(draft: Draft) -> int:
    return sum(len(turn.cut.tail) for turn in draft.learned.values() if turn.cut)


def _portions(drafts: Iterable[Draft], size: Callable[[Draft], int]) -> Iterator[list[Draft]]:
    """Give drafts in portions of about `PORTION_CHARACTERS` characters, at least one in each."""
    portion: list[Draft] = []
    total = 0
    for draft in drafts:
        portion.append(draft)
        total += size(draft)
        if total >= PORTION_CHARACTERS:
            yield portion
            portion, total = [], 0
    if portion:
        yield portion


def _tokenize(core: Any, drafts: Sequence[Draft]) -> list[Any]:
    """Tokenize the texts; one that the tokenizer refuses becomes empty, with a problem."""
    try:
        encodings: list[Any] = core.encode_batch([draft.text for draft in drafts], add_special_tokens=False)
    except Exception:  # noqa: BLE001 - half of a surrogate pair in one of them: which, is found out below
        encodings = [_tokenize_draft(core, draft) for draft in drafts]
    return encodings


def _tokenize_draft(core: Any, draft: Draft) -> Any:
    try:
        return core.encode(draft.text, add_special_tokens=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, this row cannot be learned
        draft.problem = f"the tokenizer refuses the text: {summarize_error(error)}"
        draft.text, draft.learned = "", {}
        return core.encode("", add_special_tokens=False)
