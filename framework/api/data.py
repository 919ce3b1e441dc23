"""What training and evaluation work on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from framework.api.plan import Selection
from framework.api.records import DataResult, Prompt, TokenRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Data", "NumberedRows", "set_of"]


@dataclass(frozen=True)
class Data:
    """What training and evaluation work on. The rows are read from disk as they are asked for.

    `result` is the part that is saved. `prompts` are the source's own in their order, or else the validation rows in an
    order of which every beginning is spread over all of them. `format` is the run's, for rows that an evaluator reads.
    `store` is where the tokenized rows lie, for other processes that train on them. `selection` are the prompts of the
    validation rows: a training and a sweep choose by them, and the verdict judges by `prompts`. `groups` has a number
    for each validation row, the same for rows that are alike. `selecting` says that `prompts` are `selection` now.
    """

    train: Sequence[TokenRow]
    validation: Sequence[TokenRow]
    prompts: Sequence[Prompt]
    result: DataResult
    format: Selection | None = None
    store: Path | None = None
    selection: Sequence[Prompt] = ()
    groups: Sequence[int] = ()
    selecting: bool = False

    def for_selection(self) -> Data:
        """Return the data to choose weights or settings by: with the prompts of the validation rows, if there are any.

        Where there are none, the prompts are those of the verdict.
        """
        return dataclasses.replace(self, prompts=self.selection, selecting=True) if self.selection else self


def set_of(where: str) -> str:
    """Return the name of the validation set with the row of this place, which begins with it; `Plan.set_losses`."""
    return where.partition("/")[0]


@runtime_checkable
class NumberedRows(Protocol):
    """Rows of a store by their `numbers` in `Data.store`, for processes that read them there."""

    numbers: NDArray[np.int64]
