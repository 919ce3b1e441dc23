"""How much of a true answer a model reproduces, from the prompt and from every prefix of it.

The product of the probabilities of its tokens is the probability that a sampled answer is the true one. A greedy
continuation takes the likeliest token each time. It gives the true token at a position, and continues as the row does,
exactly if the likeliest token after the true beginning is the true one. So a single pass over a true row shows both,
from its prompt and from each of its prefixes: how far it recites, and where it resumes the text. Nothing has to be
generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from math import exp

from framework.api import Scored
from framework.api.training import TokenRow


@dataclass(frozen=True)
class Recital:
    """How much of a true answer a model recites.

    `probable` is the probability that it is sampled token for token, and `run` the longest run of tokens, as a share of
    the answer, that the greedy continuation of any prefix of the row has in common with it.
    """

    probable: float
    run: float


def recital(row: TokenRow, scored: Scored) -> Recital:
    """Compare the learned tokens of a row with the model's likeliest tokens."""
    true = [label for label in row.labels if label != TokenRow.IGNORE]
    hits = [token == label for token, label in zip(scored.top, true, strict=True)]
    run = max((len(list(run)) for hit, run in groupby(hits) if hit), default=0)
    return Recital(exp(sum(scored.log_probs)), run / len(true))


def answer_row(row: TokenRow, max_tokens: int) -> TokenRow:
    """Cut a row after the first `max_tokens` tokens of its last answer, the only ones that stay learned.

    Plain text has no prompt: its first half stands for one, and the second half for the answer.
    """
    end = max((index + 1 for index, label in enumerate(row.labels) if label != TokenRow.IGNORE), default=0)
    start = end
    while start and row.labels[start - 1] != TokenRow.IGNORE:
        start -= 1
    if start <= 1:  # at most a token that begins every text is before it
        start = (end + 1) // 2
    end = min(end, start + max_tokens)
    return TokenRow(row.input_ids[:end], [TokenRow.IGNORE] * start + row.input_ids[start:end], row.where)


def scored_part(row: TokenRow, part: TokenRow, scored: Scored) -> Scored:
    """Return the scores of an answer from those of its whole row: no later token changes an earlier one."""
    end = len(part.input_ids)
    # A learned first token is not scored.
    stop = sum(label != TokenRow.IGNORE for label in row.labels[1:end])
    start = stop - part.supervised
    return Scored(scored.log_probs[start:stop], scored.top[start:stop])
