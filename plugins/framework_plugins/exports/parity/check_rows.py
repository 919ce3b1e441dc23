"""The rows of the comparison: chat prompts with the trained model's own answers; `long_row` has another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from framework.api.errors import FrameworkError
from framework.api.protocols import Model
from framework.api.records import Message, Prompt

GENERAL = (
    "Name three things that are found in a kitchen.",
    "Why do leaves fall in autumn?",
    "Write one sentence about a river.",
    "What is 7 + 5?",
)
"""Asked besides the prompts of the run: an export can be right about the task and wrong about the rest."""
LONGEST = 160
"""Tokens of a row; the rest is left out, since every position is compared."""


@dataclass(frozen=True)
class CheckRow:
    """A prompt and the trained model's answer.

    Attributes:
        text: the prompt as the chat template writes it.
        prompt: its token ids.
        answer: the token ids that the trained model says, the stop token left out.
        stopped: whether it ended by itself.
        last: how many positions at its end are compared, of a long row without an answer; 0: all of them.
    """

    text: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    stopped: bool
    last: int = 0

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.answer]


def check_rows(model: Model, prompts: Sequence[Prompt], *, count: int, max_new_tokens: int) -> list[CheckRow]:
    """Let the trained model answer.

    Args:
        model: the trained model.
        prompts: those of the run.
        count: how many of them.
        max_new_tokens: longest answer.
    """
    tokenized = []
    for prompt in [*prompts[:count], *(Prompt((Message("user", text),)) for text in GENERAL)]:
        try:
            text = model.render(prompt)
        except FrameworkError:  # a template that requires a system prompt, say: the run's own prompts have it
            continue
        ids = model.tokenize(text)
        if len(ids) < LONGEST:
            tokenized.append((text, tuple(ids)))
    answers = model.complete(
        [ids for _, ids in tokenized], max_new_tokens=max_new_tokens, batch_size=len(tokenized) or 1
    )
    return [
        CheckRow(text, ids, answer.ids[: LONGEST - len(ids)], answer.stopped and len(ids) + len(answer.ids) <= LONGEST)
        for (text, ids), answer in zip(tokenized, answers, strict=True)
    ]
