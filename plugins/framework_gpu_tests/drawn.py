"""Rows by chance: trees of prefixes, rows without one, equal rows, dialogues with several turns."""

from __future__ import annotations

import random

from framework.api.training import TokenRow

VOCABULARY = 300
SHORT, LONG = 2, 600


def _row(draw: random.Random, ids: list[int], turns: int) -> TokenRow:
    """Label a row: up to `turns` stretches of it are learned, its last token always."""
    labels = [TokenRow.IGNORE] * len(ids)
    for _ in range(turns):
        start = draw.randrange(1, len(ids))
        end = min(len(ids), start + draw.randrange(1, 20))
        labels[start:end] = ids[start:end]
    labels[-1] = ids[-1]
    return TokenRow(ids, labels)


def _tokens(draw: random.Random, count: int) -> list[int]:
    return [draw.randrange(3, VOCABULARY) for _ in range(count)]


def make(seed: int, count: int, longest: int) -> list[TokenRow]:
    """Return rows of 2 to `longest` tokens, most of which begin like an earlier one, or are equal to it."""
    draw = random.Random(seed)  # noqa: S311 - which rows, not a secret
    rows: list[TokenRow] = []
    for _ in range(count):
        known = draw.choice(rows).input_ids if rows and draw.random() < 0.75 else []
        if known and draw.random() < 0.15:
            ids = list(known)
        else:
            start = known[: draw.randint(0, len(known))]
            ids = (start + _tokens(draw, draw.choice([0, 1, 3, 10, 40, 200])))[:longest]
            ids += _tokens(draw, max(0, SHORT - len(ids)))
        rows.append(_row(draw, ids, draw.choice([0, 1, 1, 3])))
    return rows
