"""The log-probability of each option of a question, all of them in one pass over the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from framework import FrameworkError
from framework.api import Example, Message, Model, Prompt

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class OptionScores:
    """What a model gives for the options of some questions.

    Attributes:
        options: of each question.
        log_probs: of each option to the end of the turn, in nats: a row for each question, -inf after its last option.
    """

    options: Sequence[tuple[str, ...]]
    log_probs: Array

    @property
    def mass(self) -> Array:
        """The probability that the answer is one of the options."""
        return np.asarray(np.minimum(np.exp(self.log_probs).sum(1), 1.0))

    def right(self, answers: Sequence[str]) -> NDArray[np.int64]:
        """Return the numbers of some options."""
        return np.array([options.index(answer) for options, answer in zip(self.options, answers, strict=True)], int)

    def part(self, numbers: NDArray[np.int64]) -> OptionScores:
        """Return those of some of the questions."""
        return OptionScores([self.options[number] for number in numbers], self.log_probs[numbers])


def score_options(model: Model, prompts: Sequence[Prompt]) -> OptionScores:
    """Let a model read the options of each prompt.

    Raises:
        FrameworkError: an answer cannot be masked, or a row is longer than what the model reads.
    """
    examples = [
        Example((*prompt.messages, Message("assistant", option)), "decide", prompt.where, prompt.tools)
        for prompt in prompts
        for option in prompt.options
    ]
    rows = model.encode(examples) if examples else []
    for row in rows:
        if row.problem or not row.supervised:
            raise FrameworkError(f"{row.where}: an option cannot be scored: {row.problem or 'it has no token'}")
        if model.positions is not None and len(row.input_ids) > model.positions:
            raise FrameworkError(
                f"{row.where}: the text has {len(row.input_ids)} tokens, and the model reads {model.positions}: cut it"
            )
    scored = iter(model.score(rows) if rows else [])
    options = [prompt.options for prompt in prompts]
    log_probs = np.full((len(prompts), max(map(len, options), default=0)), -np.inf)
    for index, names in enumerate(options):
        log_probs[index, : len(names)] = [sum(next(scored).log_probs) for _ in names]
    return OptionScores(options, log_probs)
