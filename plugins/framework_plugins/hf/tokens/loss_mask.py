"""The learned part of a row, and the proof that inference would produce exactly that."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from framework import FrameworkError
from framework.api import Example
from framework.api.training import TokenRow
from framework_plugins.hf.packing.tree import common_prefix_length
from framework_plugins.hf.tokens import message_check
from framework_plugins.hf.tokens.forged_tokens import TAKE_OUT_OF_DATA, ForgedTokens
from framework_plugins.hf.tokens.message_check import OTHER_TEMPLATE, Remedied
from framework_plugins.hf.tokens.prompt_tokens import PromptCut, PromptTokens, token_from

PER_ANSWER = "learn each answer in a row of its own, data.learn=each, or the last one only, data.learn=last"
OPENING_CHARACTERS = 30
"""Characters of a prompt's end that are quoted."""


@dataclass(slots=True)
class Turn:
    """The measures of a learned turn's renderings, in characters of the row's text; the texts are not kept.

    Attributes:
        prompt: the length of its prompt; -1 where the prompt is not the beginning of the row.
        end: the end of the turn's content.
        limit: up to where the conversation that ends with this turn is written as in the row.
        complete: whether that is all of it.
        last: whether it is the last turn of the row.
        text_so_far: the conversation up to this turn, if it is needed again.
        problem: why there is no `end`, or no `prompt`.
        cut: of the prompt within the row.
    """

    prompt: int = -1
    end: int = 0
    limit: int = 0
    complete: bool = False
    last: bool = False
    text_so_far: str = ""
    problem: str = ""
    cut: PromptCut | None = None


@dataclass(slots=True)
class Draft:
    """A row in the making.

    `learned` are the turns to learn, by the numbers of their messages; `spans` are their tokens: the first, and the
    stop token.
    """

    example: Example
    text: str = ""
    problem: str = ""
    learned: dict[int, Turn] = field(default_factory=dict)
    encoding: Any = None
    ids: list[int] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Span:
    """The learned tokens `first:end` of an assistant's turn; with a `problem`, those of the valid part."""

    first: int = 0
    end: int = 0
    problem: str = ""


class LossMask:
    """Labels the rows of a tokenizer.

    Args:
        tokenizer: a fast one.
        stop_ids: the token ids that end generation.
        prompts: knows how many tokens of a row are its prompt's.
        with_next_turn: returns the tokens of a conversation with the turn that comes next.
        whole: learn all turns, and prove the last answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: frozenset[int],
        prompts: PromptTokens,
        with_next_turn: Callable[[Example], list[int]],
        *,
        learn_all: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.prompts = prompts
        self.with_next_turn = with_next_turn
        self.whole = learn_all
        self.bos = tokenizer.bos_token_id
        self.forged_tokens = ForgedTokens(tokenizer, prompts)
        self._cuts_at_stops = stop_ids <= prompts.added.keys()

    def measure_turn(
        self, draft: Draft, index: int, prompt: str | FrameworkError, text_so_far: str | FrameworkError
    ) -> Turn:
        """Measure the renderings of a learned turn.

        Args:
            draft: its row, whose text is known.
            index: of the turn's message.
            prompt: the prompt of inference, or the error if there is none.
            text_so_far: the conversation up to and including the turn, likewise.
        """
        is_last = index == len(draft.example.messages) - 1
        if isinstance(prompt, FrameworkError):
            return Turn(problem=Remedied.of(prompt))
        if isinstance(text_so_far, FrameworkError):
            return Turn(problem=Remedied.of(text_so_far))
        if not draft.text.startswith(prompt):
            return Turn(problem=_prompt_problem(draft, prompt, index, is_last=is_last))
        end, problem = message_check.answer_end(
            draft.example.messages[index], text_so_far, len(prompt), len(text_so_far)
        )
        limit = len(text_so_far) if is_last else common_prefix_length(draft.text, text_so_far)
        needed = not is_last and not self._cuts_at_stops
        return Turn(len(prompt), end, limit, limit == len(text_so_far), is_last, text_so_far if needed else "", problem)

    def row(self, draft: Draft) -> TokenRow:
        """Label a tokenized draft; the first problem is reported."""
        if draft.example.text is not None:
            return self._plain_text(draft)
        self._append_stop(draft)
        asks = draft.example.is_prompt
        ids, problem = draft.ids, draft.problem or ("" if draft.learned or asks else _NOTHING)
        labels = [TokenRow.IGNORE] * len(ids)
        # The last first: the advice for the others builds on it.
        spans = [] if problem else [self._find_span(draft, index) for index in reversed(draft.learned)]
        for span in spans:
            labels[span.first : span.end] = ids[span.first : span.end]
            draft.spans.append((span.first, span.end - 1))
            problem = problem or span.problem
        if not problem:
            problem = (
                self.forged_tokens.problem(draft.example, ids)
                or self._bos_problem(ids, spans)
                or message_check.lost_text(draft.example, draft.text)
            )
        if self.whole and not asks:
            labels, draft.spans = self._all_labels(ids), [(0, len(ids))]
            problem = problem or ("" if all(turn.learned for turn in draft.example.messages) else _WEIGHTED)
        return TokenRow(ids, labels, draft.example.where, problem)

    def _all_labels(self, ids: list[int]) -> list[int]:
        """Learn all tokens except a BOS token at the start."""
        return [TokenRow.IGNORE if index == 0 and token == self.bos else token for index, token in enumerate(ids)]

    def _append_stop(self, draft: Draft) -> None:
        """Append the stop token to a last answer that the template ends without one.

        It is the token that follows the answer once the conversation continues, so the one that generation produces.
        """
        turn = draft.learned.get(len(draft.example.messages) - 1)
        if turn is None or turn.cut is None or turn.problem or self._find_stop(draft, turn.end)[1] is not None:
            return
        written, next_ids = len(draft.ids), self.with_next_turn(draft.example)
        if next_ids[:written] == draft.ids and self.stop_ids.issuperset(next_ids[written : written + 1] or [-1]):
            draft.ids = next_ids[: written + 1]

    def _find_span(self, draft: Draft, index: int) -> Span:
        """Find the learned tokens of an assistant's turn."""
        turn = draft.learned[index]
        if turn.cut is None:
            return Span(problem=turn.problem)
        first = self.prompts.count(draft.ids, turn.cut)
        if first is None:
            return Span(problem=_merged_token_problem(draft, turn, index))
        if turn.problem:
            return Span(problem=turn.problem)
        return self._find_end(draft, index, first)

    def _find_end(self, draft: Draft, index: int, first: int) -> Span:
        """Find the end of a turn whose first token is known."""
        turn = draft.learned[index]
        after, stop = self._find_stop(draft, min(turn.end, turn.limit))
        if stop is None or turn.end > turn.limit or not self._belongs_to_turn(draft, turn, stop):
            stopless = turn.end <= turn.limit and turn.complete
            return Span(first, after, self._no_stop_problem) if stopless else Span(problem=_REWRITTEN)
        if not turn.last and not self._same_tokens(draft.ids[: stop + 1], turn.text_so_far):
            return Span(problem=_REWRITTEN)
        if not self.stop_ids.isdisjoint(draft.ids[first:stop]):
            return Span(problem=self._inner_stop_problem(draft, index, range(first, stop)))
        return Span(first, stop + 1)

    def _belongs_to_turn(self, draft: Draft, turn: Turn, stop: int) -> bool:
        """Whether a stop token belongs to a turn: in its text, appended, or the first text after it."""
        if stop >= len(draft.encoding):  # appended to the last turn
            return turn.last
        start, end = draft.encoding.token_to_chars(stop)
        if start + len(draft.text[start:end].rstrip()) <= turn.limit:
            return True
        return turn.complete and not draft.text[turn.limit : start].strip() and draft.ids[stop] in self.prompts.added

    def _find_stop(self, draft: Draft, end: int) -> tuple[int, int | None]:
        """Return the first token after character `end`, and the first stop token from there on."""
        ids = draft.ids
        after = token_from(draft.encoding, end, len(draft.text), len(draft.encoding))
        return after, next((token for token in range(after, len(ids)) if ids[token] in self.stop_ids), None)

    def _same_tokens(self, ids: list[int], text_so_far: str) -> bool:
        """Whether a conversation that begins with the same text begins with the same tokens.

        It does where they end with an added token, at which every text is cut.
        """
        return ids[-1] in self.prompts.added or self.prompts.ids(text_so_far)[: len(ids)] == ids

    def _inner_stop_problem(self, draft: Draft, index: int, tokens: range) -> str:
        """Say which stop token is within an answer, and who wrote it."""
        token = next(token for token in tokens if draft.ids[token] in self.stop_ids)
        start, end = draft.encoding.token_to_chars(token)
        written = draft.text[start:end].strip()
        name = self.tokenizer.convert_ids_to_tokens(draft.ids[token])
        if any(written in text for text in message_check.texts(draft.example.messages[index])):
            return f"an answer holds the stop token {name} as text, and generation would end there: {TAKE_OUT_OF_DATA}"
        return Remedied(f"the chat template writes the stop token {name} within an answer", OTHER_TEMPLATE)

    def _bos_problem(self, ids: list[int], spans: list[Span]) -> str:
        """Return the problem of a BOS token that inference would not have, or of two; empty if there is none."""
        if self.bos is None:
            return ""
        if ids[:2] == [self.bos, self.bos]:
            return (
                f"the chat template writes {self.tokenizer.bos_token} twice at the start, and so would inference: "
                "once is right, so give a template that writes it once, model.chat_template=FILE.jinja"
            )
        starts_with_bos = any(span.first < span.end and ids[span.first] == self.bos for span in spans)
        if starts_with_bos and self.bos not in self.stop_ids:
            name = self.tokenizer.bos_token
            return Remedied(
                f"the chat template writes {name} before an answer in training and not for inference", OTHER_TEMPLATE
            )
        return ""

    def _plain_text(self, draft: Draft) -> TokenRow:
        """Learn plain text from its first to its last token, and then to stop."""
        ids, where, eos = draft.ids, draft.example.where, self.tokenizer.eos_token_id
        begin = [self.bos] if self._adds_bos and ids[:1] != [self.bos] else []
        end = [eos] if eos is not None and ids[-1:] != [eos] else []
        row = [*begin, *ids, *end]
        problem = draft.problem or ("" if eos in self.stop_ids else _PLAIN_STOP)
        return TokenRow(row, self._all_labels(row), where, problem)

    @functools.cached_property
    def _adds_bos(self) -> bool:
        """Whether the tokenizer begins a plain text with its BOS token."""
        if self.bos is None:
            return False
        return self.bos in self.tokenizer("a")["input_ids"][:1] or bool(getattr(self.tokenizer, "add_bos_token", False))

    @functools.cached_property
    def _no_stop_problem(self) -> str:
        names = ", ".join(map(str, self.tokenizer.convert_ids_to_tokens(sorted(self.stop_ids)))) or "none"
        return (
            "the chat template ends an assistant's turn without a stop token, so the model would never learn to stop: "
            f"the template must write one after each answer, the stop tokens are {names}"
        )


_NOTHING = "there is no assistant's turn to learn"
_WEIGHTED = "an assistant's turn has the weight 0, and data.learn=everything learns all: set data.learn=assistant"
_REWRITTEN = Remedied(
    "the chat template writes an earlier answer differently once turns follow, so it would be learned differently from "
    "how it would be generated", PER_ANSWER,
)  # fmt: skip
_PLAIN_STOP = (
    "the tokenizer has no eos_token that ends generation, so a plain text would be learned without a stop token: give "
    "the tokenizer one"
)


def _merged_token_problem(draft: Draft, turn: Turn, index: int) -> str:
    """Say that the tokens of a prompt are not the first of its row, and what to do."""
    cause = (
        "the tokenizer merges the beginning of the answer into the prompt's last token, so at inference the model "
        "would see other tokens"
    )
    content = draft.example.messages[index].content
    if content.isspace():
        return "the answer is only white space: fill it, or leave the row out; audit.standard.clean=FILE.jsonl does"
    if content[:1].isspace():
        return Remedied(cause, OTHER_TEMPLATE, "strip the white space before the answer, format.strip=true, or ")
    if draft.text[turn.prompt : turn.prompt + 1].isspace():
        return Remedied(f"{cause}, and the chat template writes them", OTHER_TEMPLATE)
    return Remedied(cause, OTHER_TEMPLATE, "the template's opening of an answer must not end with white space, or ")


def _prompt_problem(draft: Draft, prompt: str, index: int, *, is_last: bool) -> str:
    """Say that a prompt is not the beginning of its row, and what to do."""
    if not is_last:
        return Remedied(
            "the chat template writes earlier turns differently once others follow, so the prompt of an earlier answer "
            "is not the beginning of the training text", PER_ANSWER,
        )  # fmt: skip
    if cause := message_check.lost_text(draft.example, draft.text):  # in training, though not for inference
        return cause
    opening = prompt[common_prefix_length(prompt, draft.text) :]
    words = (message.content.strip() for message in draft.example.messages[:index])
    quoted = len(opening) <= OPENING_CHARACTERS and not any(word and word in opening for word in words)
    hint = f" (inference would continue with {opening!r})" if quoted else ""
    return Remedied(
        "the prompt that inference would use is not the beginning of the training text, so training would teach "
        f"something else{hint}", OTHER_TEMPLATE,
    )  # fmt: skip
