"""What training and evaluation work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from framework.api.plan import Selection
from framework.api.records import DataResult, Prompt, Scored, TokenRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Data", "NumberedRows", "set_of"]


@dataclass(frozen=True)
class Data:
    """What training and evaluation work on. The rows are read from disk as they are needed.

    `result` is the part that is saved. `prompts` are the source's own in their order, or else the validation rows,
    ordered so that the first N, for any N, are spread over all of them. `format` is the run's, for rows that an
    evaluator reads. `store` is the folder of the tokenized rows, for other processes that train on them. `selection`
    are the prompts of the validation rows: a training and a sweep choose by them, while the verdict judges by
    `prompts`. `clusters` has a number for each validation row, the same for similar rows. `selecting` says that
    `prompts` are `selection` now. `scored` has what the model that is measured gives of the validation rows, for
    evaluators that would ask about them again; empty if it was not asked.
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

    def for_selection(self) -> Data:
        """Return the data to choose weights or settings by: with the prompts of the validation rows, if there are any.

        If there are none, the prompts are those of the verdict.
        """
        return dataclasses.replace(self, prompts=self.selection, selecting=True) if self.selection else self


def set_of(where: str) -> str:
    """Return the name of the validation set of a row: its place begins with the name. See `Plan.set_losses`."""
    return where.partition("/")[0]


@runtime_checkable
class NumberedRows(Protocol):
    """Rows with their `numbers` in `Data.store`, for processes that read them from there."""

    numbers: NDArray[np.int64]
