"""What of a row is learned, and the proof that inference would do just that."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from framework.errors import FrameworkError
from framework.records import Example, TokenRow
from framework_hf import kept
from framework_hf.masks import Cut, Prompts, common, token_from
from framework_hf.render import Turns

IGNORE = -100
LAST_ONLY = "learn the last answer only, data.mask_history=true"
SHOWN_OPENING = 30
"""Characters of a prompt's end that are quoted."""


@dataclass(slots=True)
class Draft:
    """A row in the making. `learned` are the numbers of the messages to learn; the dicts go by those numbers.

    `alone` holds the conversation up to and including that message, where it is not the last.
    """

    example: Example
    turns: Turns
    learned: list[int]
    text: str = ""
    problem: str = ""
    prompts: dict[int, str | FrameworkError] = field(default_factory=dict)
    alone: dict[int, str | FrameworkError] = field(default_factory=dict)
    encoding: Any = None
    ids: list[int] = field(default_factory=list)
    cuts: dict[int, Cut] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens `first:end` of an assistant's turn are learned; with a `problem` they are what can be saved of it."""

    first: int = 0
    end: int = 0
    problem: str = ""


class Labels:
    """Labels the rows of a tokenizer.

    Args:
        tokenizer: a fast one.
        stop_ids: the token ids that end generation.
        prompts: knows how many tokens of a row are its prompt's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, stop_ids: frozenset[int], prompts: Prompts) -> None:
        self.tokenizer = tokenizer
        self.stop_ids = stop_ids
        self.prompts = prompts
        self.bos = tokenizer.bos_token_id

    def row(self, draft: Draft) -> TokenRow:
        """Label a tokenized draft; the first problem that is found is told."""
        if draft.example.text is not None:
            return self._plain(draft)
        ids, problem = draft.ids, draft.problem or ("" if draft.learned else _NOTHING)
        labels = [IGNORE] * len(ids)
        # The last first: the advice for the others builds on it.
        spans = [] if problem else [self._span(draft, number) for number in reversed(draft.learned)]
        for span in spans:
            labels[span.first : span.end] = ids[span.first : span.end]
            problem = problem or span.problem
        if not problem:
            problem = self._bos_problem(ids, spans) or kept.lost(draft.example, draft.text)
        return TokenRow(ids, labels, draft.example.where, problem)

    def _span(self, draft: Draft, number: int) -> Span:
        """Find what is learned of an assistant's turn."""
        prompt, alone = draft.prompts[number], draft.alone.get(number, draft.text)
        if isinstance(prompt, FrameworkError) or isinstance(alone, FrameworkError):
            return Span(problem=str(prompt if isinstance(prompt, FrameworkError) else alone))
        if number not in draft.cuts:
            return Span(problem=_other_prompt(draft, prompt, number))
        first = self.prompts.count(draft.ids, draft.cuts[number])
        if first is None:
            return Span(problem=_runs_on(draft, prompt))
        return self._answer(draft, number, first, alone)

    def _answer(self, draft: Draft, number: int, first: int, alone: str) -> Span:
        """Find the end of a turn whose first token is known; `alone` is the conversation up to it."""
        start, limit = len(str(draft.prompts[number])), common(draft.text, alone)
        end, problem = kept.answer_end(draft.example.messages[number], alone, start, len(alone))
        if problem:
            return Span(problem=problem)
        after, stop = self._stop(draft, min(end, limit))
        if stop is None or end > limit or not _within(draft.text, draft.encoding.token_to_chars(stop), limit):
            stopless = end <= limit == len(alone)
            return Span(first, after, self._no_stop) if stopless else Span(problem=_REWRITTEN)
        if number in draft.alone and not self._same(draft.ids[: stop + 1], alone):
            return Span(problem=_REWRITTEN)
        return Span(first, stop + 1)

    def _stop(self, draft: Draft, end: int) -> tuple[int, int | None]:
        """Return the first token after character `end`, and the first stop token from there on."""
        ids = draft.ids
        after = token_from(draft.encoding, end, len(draft.text), len(ids))
        return after, next((token for token in range(after, len(ids)) if ids[token] in self.stop_ids), None)

    def _same(self, ids: list[int], alone: str) -> bool:
        """Whether a conversation that begins with the same text begins with the same tokens.

        It does where they end with an added token, at which every text is cut.
        """
        return ids[-1] in self.prompts.added or self.prompts.ids(alone)[: len(ids)] == ids

    def _bos_problem(self, ids: list[int], spans: list[Span]) -> str:
        """Say where the row has a BOS token that inference would not have, or two; empty where all is well."""
        if self.bos is None:
            return ""
        if ids[:2] == [self.bos, self.bos]:
            return (
                f"the chat template writes {self.tokenizer.bos_token} twice at the start, and so would inference: "
                "one is right, give a template that writes it once, model.chat_template=FILE.jinja"
            )
        begun = any(span.first < span.end and ids[span.first] == self.bos for span in spans)
        if begun and self.bos not in self.stop_ids:
            return (
                f"the chat template writes {self.tokenizer.bos_token} before an answer in training and not for "
                f"inference: {kept.OTHER}"
            )
        return ""

    def _plain(self, draft: Draft) -> TokenRow:
        """Learn plain text from its first to its last token, and then to stop."""
        ids, where, eos = draft.ids, draft.example.where, self.tokenizer.eos_token_id
        begin = [self.bos] if self._adds_bos and ids[:1] != [self.bos] else []
        end = [eos] if eos is not None and ids[-1:] != [eos] else []
        row = [*begin, *ids, *end]
        labels = [IGNORE if number == 0 and token == self.bos else token for number, token in enumerate(row)]
        problem = draft.problem or ("" if eos in self.stop_ids else _PLAIN_STOP)
        return TokenRow(row, labels, where, problem)

    @functools.cached_property
    def _adds_bos(self) -> bool:
        """Whether the tokenizer begins a plain text with its BOS token."""
        if self.bos is None:
            return False
        return self.bos in self.tokenizer("a")["input_ids"][:1] or bool(getattr(self.tokenizer, "add_bos_token", False))

    @functools.cached_property
    def _no_stop(self) -> str:
        names = ", ".join(map(str, self.tokenizer.convert_ids_to_tokens(sorted(self.stop_ids)))) or "none"
        return (
            "the chat template ends an assistant's turn without a stop token, so the model would never learn to stop: "
            f"the template must write one after each answer, the stop tokens are {names}"
        )


_NOTHING = "there is no assistant's turn to learn"
_REWRITTEN = (
    "the chat template writes an earlier answer otherwise once turns follow, so it would be learned otherwise than it "
    f"would be generated: {LAST_ONLY}"
)
_PLAIN_STOP = (
    "the tokenizer has no eos_token that ends generation, so a plain text would be learned without a stop token: give "
    "the tokenizer one"
)


def _runs_on(draft: Draft, prompt: str) -> str:
    """Say that the tokens of a prompt are not the first of its row, and what to do."""
    ours = draft.text[len(prompt) : len(prompt) + 1].isspace()
    advice = (
        "strip the white space before the answer, format.strip=true"
        if ours
        else "the template's opening of an answer must not end with white space"
    )
    return (
        "the answer's first characters join the prompt's last token, so the prompt that inference would use is not the "
        f"beginning of the training tokens: {advice}, or {kept.OTHER}"
    )


def _other_prompt(draft: Draft, prompt: str, number: int) -> str:
    """Say that a prompt is not the beginning of its row, and what to do."""
    if number in draft.alone:
        return (
            "the chat template writes earlier turns otherwise once others follow, so the prompt of an earlier answer "
            f"is not the beginning of the training text: {LAST_ONLY}"
        )
    if cause := kept.lost(draft.example, draft.text):  # in training, though not for inference
        return cause
    opening = prompt[common(prompt, draft.text) :]
    words = (message.content.strip() for message in draft.example.messages[:number])
    quoted = len(opening) <= SHOWN_OPENING and not any(word and word in opening for word in words)
    hint = f" (inference would go on with {opening!r})" if quoted else ""
    return (
        "the prompt that inference would use is not the beginning of the training text, so training would teach "
        f"something else{hint}: {kept.OTHER}"
    )


def _within(text: str, chars: tuple[int, int], limit: int) -> bool:
    """Whether a token ends before a character; white space that it took with it does not count."""
    start, end = chars
    return start + len(text[start:end].rstrip()) <= limit
