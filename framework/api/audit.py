"""What an audit receives: the rows of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from framework.api.plan import Plan
from framework.api.records import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AuditData", "RowPart", "Texts"]


class RowPart(IntEnum):
    """The part that a row belongs to after the split."""

    left_out = -1
    train = 0
    validation = 1
    prompts = 2


@dataclass(frozen=True)
class Texts:
    """A batch of rows as text, in lists of equal length.

    Attributes:
        start: the number of the first row.
        where: the place of each row, `orders.jsonl:12`.
        problem: why the row is not proven; empty if it is.
        question: the turns before the last, without the system prompt.
        answer: the last turn, or the plain text.
        earlier: the other answers that are learned, separated by `SEPARATOR`.
        around: what else the model reads: system prompt, thoughts, tool calls, tool schemas.
        rejected: the last turn of the answer that was not preferred; empty without one, and a space if it is empty.
        facts: `Example.facts` of the row, such as the label of its answer.
    """

    start: int
    where: list[str]
    problem: list[str]
    question: list[str]
    answer: list[str]
    earlier: list[str]
    around: list[str]
    rejected: list[str]
    facts: list[Mapping[str, float]]


class AuditData(Protocol):
    """The rows of a run as an audit sees them. All arrays have an entry for each row.

    Attributes:
        plan: the run; `plan.training` has the length of training.
        part: the `RowPart` of each row after the split; `left_out` for rows that are not used.
        tokens: length of each row in tokens.
        supervised: learned tokens of each row.
        system: whether the conversation has a system prompt.
        plain: whether the row is plain text, which asks nothing.
        asks: whether the row is a prompt, which has no answer.
        own: whether the row is one of the source's rows for training, including those split off for validation; rows
            that are mixed in and rows of held-out files are not.
    """

    plan: Plan
    part: NDArray[np.int8]
    tokens: NDArray[np.int32]
    supervised: NDArray[np.int32]
    system: NDArray[np.bool_]
    plain: NDArray[np.bool_]
    asks: NDArray[np.bool_]
    own: NDArray[np.bool_]

    def __len__(self) -> int:
        """Return how many rows there are."""

    def batches(self) -> Iterator[Texts]:
        """Read all rows as text, in batches: the place, the question and the answer of each."""

    def example(self, number: int) -> Example:
        """Read the whole conversation of a row; reading consecutive rows is fast."""

    def where(self, number: int) -> str:
        """Return the place of a row, `orders.jsonl:12`."""

    def supervised_after(self, number: int, limit: int) -> int:
        """Count the learned tokens of a row after its first `limit` tokens."""

    def suggested_length(self, tokens: NDArray[np.integer]) -> int:
        """Return the `trainer.max_seq_length` that suits rows of these lengths."""

    def padding(self, tokens: NDArray[np.integer], batch_size: int) -> float:
        """Return the share of padding among the tokens if rows of these lengths are put into batches."""

    @property
    def near_duplicates(self) -> NDArray[np.int64]:
        """The number of the first near-duplicate of each row, with question and answer compared as one text."""

    @property
    def near_duplicate_questions(self) -> NDArray[np.int64]:
        """The same with only the questions compared, without what most of them share; plain text is compared too."""

    def examples(self, numbers: Iterable[int], count: int = 5) -> list[str]:
        """Return the first of some rows as text: `geo.jsonl:12: Capital of Peru? → Lima`.

        Secrets in them are hidden: findings go into the report.
        """
