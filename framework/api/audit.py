"""What an audit is given: the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from framework.api.plan import Plan
from framework.api.records import Example

__all__ = ["LEFT_OUT", "PROMPTS", "TRAIN", "VALIDATION", "AuditData", "Texts"]

TRAIN, VALIDATION, PROMPTS = range(3)
"""The part of a row, after the split."""


@dataclass(frozen=True)
class Texts:
    """A batch of rows as text, in lists of one length.

    Attributes:
        start: the number of the first row.
        where: where each row stands.
        problem: why it is not proven; empty where it is.
        question: the turns before the last, without the system prompt.
        answer: the last turn, or the plain text.
        earlier: the other answers that are learned, `SEPARATOR` between them.
        around: what else the model reads: system prompt, thoughts, calls, schemas of tools.
    """

    start: int
    where: list[str]
    problem: list[str]
    question: list[str]
    answer: list[str]
    earlier: list[str]
    around: list[str]


LEFT_OUT = -1
"""The part of a row that is not used."""


class AuditData(Protocol):
    """The rows of a run as an audit sees them. All arrays have an entry for each row.

    Attributes:
        plan: the run; `plan.training` has the length of training.
        part: TRAIN, VALIDATION or PROMPTS, after the split; LEFT_OUT for rows that are not used.
        tokens: length of each row in tokens.
        supervised: learned tokens of each row.
        system: whether the conversation has a system prompt.
        plain: whether the row is plain text, which asks nothing.
        own: whether the row is one of the source's rows for training, those split off for validation too; not of
            what is mixed in, and not of files that are held out.
    """

    plan: Plan
    part: NDArray[np.int8]
    tokens: NDArray[np.int32]
    supervised: NDArray[np.int32]
    system: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    own: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many rows there are."""

    def batches(self) -> Iterator[Texts]:
        """Read all rows as text, in batches: where each stands, what it asks, what it answers."""

    def example(self, number: int) -> Example:
        """Read the whole conversation of a row; neighbours one after the other are read fast."""

    def where(self, number: int) -> str:
        """Tell where a row stands, `orders.jsonl:12`."""

    def supervised_after(self, number: int, limit: int) -> int:
        """Count the learned tokens of a row that stand beyond its first `limit` tokens."""

    def suggested_length(self, tokens: NDArray[np.integer]) -> int:
        """Return the `trainer.max_seq_length` that suits rows of these lengths."""

    def padding(self, tokens: NDArray[np.integer], batch_size: int) -> float:
        """Return which share of the tokens is padding where rows of these lengths are put into batches."""

    @property
    def near_duplicates(self) -> NDArray[np.int64]:
        """The group of near-duplicates of each row, question and answer as one text: the number of its first row."""

    @property
    def near_duplicate_questions(self) -> NDArray[np.int64]:
        """The same for the questions alone, where what most questions share does not count; plain text is compared."""

    def examples(self, numbers: Iterable[int], count: int = 5) -> list[str]:
        """Name the first of some rows: `geo.jsonl:12: Capital of Peru? → Lima`.

        Secrets in them are hidden: findings go into the report.
        """
