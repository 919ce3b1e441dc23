"""The rows of the comparison: chat prompts with the trained model's own answers, and one long row.

What goes wrong with positions shows at the end of the long row, where the short ones never come. Its text is a made-up
list of railway stations. Each entry names two earlier ones and repeats facts about them, so at the end of the row the
likeliest token depends on text a thousand tokens or more before it: a lost rope scaling, another rope theta or a lost
sliding window changes it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from framework import FrameworkError
from framework.api import Answer, Example, Message, Model, Prompt, summarize_error

log = logging.getLogger(__name__)

GENERAL_QUESTIONS = (
    "Name three things that are found in a kitchen.",
    "Why do leaves fall in autumn?",
    "Write one sentence about a river.",
    "What is 7 + 5?",
)
"""Asked besides the prompts of the run: an export can be right about the task and wrong about the rest."""
MOST_OPTIONS = 60
"""Options that are scored; each is a row of its own."""
MAX_ROW_TOKENS = 160
"""Tokens of a row; the rest is left out, since every position is compared. A longer prompt, which a template or a run
with a long system prompt writes, begins later and takes half of them."""


@dataclass(frozen=True)
class CheckRow:
    """A prompt and the trained model's answer.

    Attributes:
        text: the prompt as the chat template writes it.
        prompt: its token ids.
        answer: the token ids that the trained model writes, without the stop token.
        stopped: whether it ended by itself.
        last: how many positions at its end are compared, of a long row without an answer; 0: all of them.
        before: the token ids of the text before `prompt`, which no model is given.
        question: a number from 1 on if `answer` is an option of that question, to the end of the turn; 0 else. `last`
            are its tokens and the one before then.
    """

    text: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    stopped: bool
    last: int = 0
    before: tuple[int, ...] = ()
    question: int = 0

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.answer]


def answered_rows(model: Model, prompts: Sequence[Prompt], *, count: int, max_new_tokens: int) -> list[CheckRow]:
    """Let the trained model answer.

    Args:
        model: the trained model.
        prompts: the prompts of the run.
        count: how many of them.
        max_new_tokens: longest answer. If `generate` of transformers fails for the family, all answers are empty.
    """
    tokenized = []
    for prompt in [*prompts[:count], *(Prompt((Message("user", text),)) for text in GENERAL_QUESTIONS)]:
        try:
            text = model.render(prompt)
        except FrameworkError:  # a template that requires a system prompt, say: the run's own prompts have it
            continue
        ids = tuple(model.tokenize(text))
        begin = len(ids) - MAX_ROW_TOKENS // 2 if len(ids) >= MAX_ROW_TOKENS else 0
        tokenized.append((text, ids[begin:], ids[:begin]))
    try:
        answers: Sequence[Answer] = model.complete(
            [ids for _, ids, _ in tokenized], max_new_tokens=max_new_tokens, batch_size=len(tokenized) or 1
        )
    except (ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:  # of transformers' `generate`
        import torch  # noqa: PLC0415 - a plan imports this module, and no torch

        if isinstance(error, torch.OutOfMemoryError):
            raise
        log.warning("parity: only prompts are compared, the model cannot draw answers: %s", summarize_error(error))
        answers = [Answer("", 0, stopped=False)] * len(tokenized)
    return [
        CheckRow(
            text,
            ids,
            answer.ids[: MAX_ROW_TOKENS - len(ids)],
            answer.stopped and len(ids) + len(answer.ids) <= MAX_ROW_TOKENS,
            before=before,
        )
        for (text, ids, before), answer in zip(tokenized, answers, strict=True)
    ]


def option_rows(model: Model, prompts: Sequence[Prompt]) -> list[CheckRow]:
    """Return a row for each option of the first questions, so that decisions can be compared."""
    rows: list[CheckRow] = []
    for question, prompt in enumerate((prompt for prompt in prompts if prompt.options), start=1):
        if len(rows) + len(prompt.options) > MOST_OPTIONS:
            break
        for row in model.encode(
            [
                Example((*prompt.messages, Message("assistant", option)), "options", tools=prompt.tools)
                for option in prompt.options
            ]
        ):
            learned = [place for place, label in enumerate(row.labels) if label != row.IGNORE]
            start, end = learned[0], learned[-1] + 1
            ids = row.input_ids
            rows.append(
                CheckRow(
                    "", tuple(ids[:start]), tuple(ids[start:end]), stopped=True, last=end - start + 1, question=question
                )
            )
    return rows


COMPARED_TAIL = 256
"""Positions at the end of the row that are compared. The rest is read only: its logits would take gigabytes."""
STATION_NAMES = (
    "Orrin", "Velt", "Harrow", "Tamsin", "Quill", "Bexley", "Noor", "Castell", "Lund", "Pereira", "Ostrava",
    "Kimble", "Yarrow", "Dunmore", "Ilsa", "Fenwick", "Marlow", "Zadar", "Thorne", "Uppsala", "Wick", "Jasper",
)  # fmt: skip
STATION_SIDES = ("", " North", " South", " East", " West")
KEEPERS = (
    "Adler", "Brandt", "Castro", "Dufour", "Eriksen", "Fontana", "Greene", "Haddad", "Ito", "Jansen", "Kaya",
    "Lindt", "Moreau",
)  # fmt: skip
PASTIMES = (
    "grows roses", "repairs clocks", "plays the cello", "keeps bees", "paints boats", "bakes rye bread",
    "collects maps",
)  # fmt: skip
FIRST_STATIONS, EARLIER_FACTOR = 5, 2
"""One of the `FIRST` stations is named again in each entry, and the one `MORE` times nearer to the beginning."""


def long_row(model: Model, tokens: int) -> CheckRow | None:
    """Return a row of `tokens` tokens; None if that leaves nothing to compare.

    Args:
        model: writes the text as a question and tokenizes it.
        tokens: of the row; no more than the model's context.
    """
    if tokens <= 1:
        return None
    # An entry has 20 tokens at least, whatever the tokenizer.
    text = "The stations of a railway:\n" + "\n".join(map(_entry, range(tokens // 20 + 1)))
    with suppress(FrameworkError):  # of a template that requires a system prompt, say: this is not a conversation
        text = model.render(Prompt((Message("user", text),)))
    ids = tuple(model.tokenize(text)[:tokens])
    return CheckRow("", ids, (), stopped=False, last=min(COMPARED_TAIL, len(ids)))


def _entry(index: int) -> str:
    name, year, keeper, pastime = _station(index)
    text = f"{index + 1}. {name} was opened in {year}. {keeper}, who {pastime}, keeps it."
    if index >= FIRST_STATIONS:
        near, far = _station(index // EARLIER_FACTOR), _station(index % FIRST_STATIONS)
        text += (
            f" Trains stop at {near[0]}, which was opened in {near[1]} and is kept by {near[2]}, and at {far[0]}, "
            f"whose keeper {far[2]} {far[3]}."
        )
    return text


def _station(index: int) -> tuple[str, int, str, str]:
    """Return a station's name, year, keeper and the keeper's work; they seem to follow no rule."""
    around = index // len(STATION_NAMES)
    name = STATION_NAMES[index % len(STATION_NAMES)] + STATION_SIDES[around % len(STATION_SIDES)]
    year = 1840 + (37 * index * index + 11 * index) % 113
    keeper = KEEPERS[(5 * index + index // len(KEEPERS)) % len(KEEPERS)]
    return name, year, keeper, PASTIMES[(3 * index + index // len(PASTIMES)) % len(PASTIMES)]
