"""A few rows piece by piece, learned or not, for people to look at; what looks like a secret is hidden."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from framework.protocols import Model
from framework.records import Piece, TokenRow, ViewedRow
from framework.redact import redact

ROWS = 3
LONGEST = 1200
"""Characters of a piece; the middle of a longer one is left out."""
IGNORE = -100


def view(rows: Sequence[TokenRow], model: Model) -> list[ViewedRow]:
    """Show the first rows."""
    return [ViewedRow(row.where, _pieces(row, model)) for row in itertools.islice(rows, ROWS)]


def _pieces(row: TokenRow, model: Model) -> list[Piece]:
    pairs = zip(row.input_ids, row.labels, strict=True)
    runs = itertools.groupby(pairs, key=lambda pair: pair[1] != IGNORE)
    return [Piece(_cut(redact(model.decode([token for token, _ in run]))), learned) for learned, run in runs]


def _cut(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} … {text[-half:]}"
