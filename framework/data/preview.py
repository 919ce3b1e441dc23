"""A few rows piece by piece, learned or not, to be read; what looks like a secret is hidden."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from framework.api.protocols import Model
from framework.api.records import IGNORE, Piece, TokenRow, ViewedRow
from framework.util.redact import redact

ROWS = 3
LONGEST = 1200
"""Characters of a piece; the middle of a longer one is left out."""


def view(rows: Sequence[TokenRow], sources: NDArray[np.int16], model: Model) -> list[ViewedRow]:
    """Show the first rows, and the first of each source that was mixed in."""
    firsts = np.sort(np.unique(sources, return_index=True)[1][1:])
    numbers = dict.fromkeys([*range(min(ROWS, len(rows))), *firsts.tolist()])
    return [ViewedRow(row.where, _pieces(row, model)) for row in (rows[number] for number in numbers)]


def _pieces(row: TokenRow, model: Model) -> list[Piece]:
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORE)
    return [Piece(_cut(redact(model.decode([token for token, _ in run]))), learned) for learned, run in runs]


def _cut(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"
