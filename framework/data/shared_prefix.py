"""Rows whose conversations have a common beginning: what one of them asks is answered, and learned, within the other.

    A: user, assistant              B: user, assistant, user, assistant

If both have the same first question, B learns what A learns; so they belong to one group, though as a whole they ask
different things.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from framework.data.store import Store
from framework.util.text_features import COMMON

Numbers = NDArray[np.int64]


def pairs(store: Store) -> tuple[Numbers, Numbers]:
    """Pair the rows that learn an answer to the same turns, unless more than a fifth of all rows begin with them."""
    if not (store.columns.turns > 1).any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, keys, inner = (np.array(values) for values in zip(*_prompts(store), strict=True))
    # By key, then by row, so that the first of each key is the earliest row.
    order = np.lexsort((rows, keys))
    rows, keys, inner = rows[order], keys[order], inner[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    sizes = np.diff([*starts, len(keys)])
    # Whole questions that are equal were grouped already, and "Hello" tells nothing.
    telling = np.logical_or.reduceat(inner, starts) & (sizes <= max(COMMON * len(store), 2))
    first_rows = np.repeat(rows[starts], sizes)
    chosen = np.repeat(telling, sizes)
    return first_rows[chosen], rows[chosen]


def _prompts(store: Store) -> Iterator[tuple[int, int, bool]]:
    """Give (row, hash of the turns before an answer, whether turns follow) for every answer that is learned."""
    several = store.columns.turns > 1
    for texts in store.texts():
        for row, question in enumerate(texts.question, start=texts.start):
            yield row, _hash_text(question), False
            if several[row]:
                yield from ((row, _hash_text(prompt), True) for prompt in _earlier_prompts(store, row))


def _earlier_prompts(store: Store, row: int) -> Iterator[str]:
    contents: list[str] = []
    for turn in store.example(row).messages[:-1]:
        if turn.role == "assistant" and turn.learned:
            yield "\n".join(contents)
        if turn.role != "system":
            contents.append(turn.content)


def _hash_text(text: str) -> int:
    """Return a hash that white space and capitals do not change; it holds within this process."""
    return hash(" ".join(text.casefold().split()))  # not kept, so it may differ between processes
