"""The choice of rows to test for recitation: seeded, spread over all, with informative answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress, pairwise
from random import Random

from framework.api import Model
from framework.api.training import TokenRow
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.recital import answer_row

CANDIDATES_PER_ROW = 4
"""Candidate rows for each row that is used: some answers are too short, or have no unique word."""
WORD = re.compile(r"\w{4,}")
"""A word that can be a row's own; a shorter one is in a prompt or in another answer by chance."""


@dataclass(frozen=True)
class SampledRows:
    """Rows cut to the part that is used, out of `looked_at` candidates, and their numbers before.

    `short` had an answer that is too short, and `common` one without a word of its own.
    """

    rows: list[TokenRow]
    looked_at: int
    short: int
    common: int = 0
    numbers: list[int] = field(default_factory=list)


def sample_rows(rows: Sequence[TokenRow], config: MemorizationConfig) -> SampledRows:
    """Choose rows, the same each time."""
    numbers = sample_numbers(len(rows), config)
    candidates = [answer_row(rows[index], config.max_new_tokens) for index in numbers]
    long = [row.supervised >= config.min_tokens for row in candidates]
    chosen = [*compress(candidates, long)]
    return SampledRows(chosen, len(candidates), len(candidates) - len(chosen), numbers=[*compress(numbers, long)])


def sample_numbers(total: int, config: MemorizationConfig) -> list[int]:
    """Return numbers below `total`, one by chance from each of as many equal stretches, shuffled."""
    random = Random(config.seed)  # noqa: S311 - a sample, not a secret
    count = min(CANDIDATES_PER_ROW * config.rows, total)
    bounds = [total * index // count for index in range(count + 1)] if count else []
    numbers = [random.randrange(start, end) for start, end in pairwise(bounds)]
    random.shuffle(numbers)
    return numbers


def with_unique_words(sample: SampledRows, model: Model) -> SampledRows:
    """Keep the rows whose answer has a word that neither its prompt nor another answer has.

    Copying from the prompt into a form that all answers have is a task, however well it is done.
    """
    answers = [_words(model, row, learned=True) for row in sample.rows]
    counts = Counter(word for answer in answers for word in answer)
    unique_rows = [
        (row, index)
        for row, index, answer in zip(sample.rows, sample.numbers, answers, strict=True)
        if any(counts[word] == 1 for word in answer - _words(model, row, learned=False))
    ]
    rows, numbers = [row for row, _ in unique_rows], [index for _, index in unique_rows]
    return SampledRows(rows, sample.looked_at, sample.short, len(sample.rows) - len(unique_rows), numbers)


def _words(model: Model, row: TokenRow, *, learned: bool) -> set[str]:
    ids = [
        token for token, label in zip(row.input_ids, row.labels, strict=True) if (label != TokenRow.IGNORE) is learned
    ]
    return set(WORD.findall(model.decode(ids).casefold()))
