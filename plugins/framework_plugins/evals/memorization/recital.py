"""How much of a true answer a model reproduces when continued greedily, from the prompt and from every prefix of it.

A greedy continuation takes the likeliest token each time. It gives the true token at a position, and continues as
the row does, exactly if the likeliest token after the true beginning is the true one. So a single pass over a true row,
with the likeliest token at each position, shows what the model would say from its prompt and from each of its prefixes:
how far it recites, and where it resumes the text. Nothing has to be generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from framework.api import Scored
from framework.api.training import IGNORE, TokenRow


@dataclass(frozen=True)
class Recital:
    """Of each token of a true answer, whether the model gives it after those before it."""

    hits: tuple[bool, ...]

    @property
    def verbatim(self) -> bool:
        """Whether the greedy answer to the prompt is the true one, token for token."""
        return all(self.hits)

    @property
    def finished(self) -> bool:
        """Whether the greedy continuation of the prompt and the first half of the answer is the second half."""
        return all(self.hits[len(self.hits) // 2 :])

    @property
    def run(self) -> int:
        """The longest run of tokens that the greedy continuation of any prefix of the row has in common with it."""
        return max((len(list(run)) for hit, run in groupby(self.hits) if hit), default=0)


def recital(row: TokenRow, scored: Scored) -> Recital:
    """Compare the learned tokens of a row with the likeliest ones in their place."""
    true = [label for label in row.labels if label != IGNORE]
    return Recital(tuple(token == label for token, label in zip(scored.top, true, strict=True)))


def answer_row(row: TokenRow, most: int) -> TokenRow:
    """Cut a row behind the first `most` tokens of its last answer, the only ones that stay learned.

    Plain text has no prompt: its first half stands for one, and the second half for the answer.
    """
    end = max((place + 1 for place, label in enumerate(row.labels) if label != IGNORE), default=0)
    start = end
    while start and row.labels[start - 1] != IGNORE:
        start -= 1
    if start <= 1:  # at most a token that begins every text stands before it
        start = (end + 1) // 2
    end = min(end, start + most)
    return TokenRow(row.input_ids[:end], [IGNORE] * start + row.input_ids[start:end], row.where)
