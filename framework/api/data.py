"""What training and evaluation work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, overload

from framework.api.records import DataResult, Prompt, Scored, TokenGroup, TokenRow
from framework.api.selection import Selection

if TYPE_CHECKING:
    pass

__all__ = ["Data", "answer_rows"]


@dataclass(frozen=True)
class Data:
    """What training and evaluation work on. The rows are read from disk as they are needed.

    `train` and `validation` have one row for each group, its answer: they are for evaluators. `train_groups` and
    `validation_groups` have the groups themselves, for a training. `result` is the part that is saved. `prompts` are
    the source's own in their order, or else the validation rows, ordered so that the first N, for any N, are spread
    over all of them. `format` is the run's, for rows that an evaluator reads. `store` is the folder of the tokenized
    rows, for other processes that train on them. `selection` are the prompts of the validation rows: a training and a
    sweep choose by them, while the verdict judges by `prompts`. `clusters` has a number for each validation row, the
    same for similar rows, and `train_clusters` one for each training row. `selecting` says that `prompts` are
    `selection` now. `scored` has what the model that is measured gives of the validation rows, for evaluators that
    would ask about them again; empty if it was not asked.
    `trial` says that the run is a trial of a sweep: all trials are asked as many prompts, since they are compared.
    `train_prompts` are what the rows of `train_groups` ask, in their order; empty for plain text.
    `passages` are hashes of what several training rows ask in the same words, instructions: prompts that share no more
    than these are independent.
    """

    train: Sequence[TokenRow]
    validation: Sequence[TokenRow]
    prompts: Sequence[Prompt]
    result: DataResult
    format: Selection | None = None
    store: Path | None = None
    selection: Sequence[Prompt] = ()
    clusters: Sequence[int] = ()
    selecting: bool = False
    scored: Sequence[Scored] = ()
    train_groups: Sequence[TokenGroup] = ()
    validation_groups: Sequence[TokenGroup] = ()
    trial: bool = False
    train_prompts: Sequence[Prompt] = ()
    passages: frozenset[int] = frozenset()
    train_clusters: Sequence[int] = ()

    def __post_init__(self) -> None:
        # Without groups of their own the rows are the groups.
        for name in ("train", "validation"):
            if not getattr(self, f"{name}_groups"):
                object.__setattr__(self, f"{name}_groups", getattr(self, name))

    def for_selection(self) -> Data:
        """Return the data to choose weights or settings by: with the prompts of the validation rows, if there are any.

        If there are none, the prompts are those of the verdict.
        """
        return dataclasses.replace(self, prompts=self.selection, selecting=True) if self.selection else self


class _Answers(Sequence[TokenRow]):
    def __init__(self, groups: Sequence[TokenGroup]) -> None:
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> TokenRow: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenRow]: ...
    def __getitem__(self, index: int | slice) -> TokenRow | Sequence[TokenRow]:
        return _Answers(self.groups[index]) if isinstance(index, slice) else self.groups[index].answer


def answer_rows(groups: Sequence[TokenGroup]) -> Sequence[TokenRow]:
    """Return the answer of each group, read as it is asked for."""
    return _Answers(groups)
