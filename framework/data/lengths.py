"""How long the rows are, what `trainer.max_seq_length` costs, and which one the data ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from framework.api.records import GroupedRows, Lengths, Prompt, TokenGroup, TokenRow
from framework.api.schema import SHORTEST_CUT, Overflow, Role
from framework.data import blocks
from framework.data.prompts import to_prompt
from framework.data.store import Rows, Store
from framework.util.errors import FrameworkError

BINS = 20
LENGTH_STEP = 64
"""Suggested lengths are multiples of it: kernels like that, and people remember them."""
OUTLIER = 2
"""A longest row above this multiple of the 99th percentile is not worth its memory."""

Numbers = NDArray[np.int64]


def measure(store: Store, numbers: Numbers, trained: Numbers, limit: int, batch_size: int, seed: int) -> Lengths:
    """Measure the rows of `numbers`, before `data.overflow`.

    The padding is that of the rows that it left, `trained`, in batches of `batch_size` in an order drawn by `seed`.
    """
    lengths = store.columns.tokens[numbers].astype(np.int64)
    p50, p95, p99 = (int(value) for value in np.percentile(lengths, [50, 95, 99], method="higher"))
    longest = int(lengths.max())
    histogram_end = longest
    for percentile in (p99, p95):  # a few rows that are far off would leave all others in one bin
        histogram_end = percentile if histogram_end > OUTLIER * percentile else histogram_end
    width = max(math.ceil(histogram_end / BINS), 1)
    edges = [width * (bin_index + 1) for bin_index in range(max(math.ceil(histogram_end / width), 1))]
    within = lengths[lengths <= edges[-1]]
    histogram = np.bincount((within - 1).clip(min=0) // width, minlength=len(edges))
    return Lengths(
        p50=p50,
        p95=p95,
        p99=p99,
        longest=longest,
        edges=edges,
        histogram=[int(count) for count in histogram],
        beyond=len(lengths) - len(within),
        max_seq_length=limit,
        suggested=suggest(p99, longest),
        lost_tokens=int((lengths - limit).clip(min=0).sum()),
        lost_supervised_tokens=sum(store.supervised_after(int(index), limit) for index in numbers[lengths > limit]),
        padding_share=padding(np.minimum(store.columns.tokens[trained], limit).astype(np.int64), batch_size, seed),
    )


def suggest(p99: int, longest: int) -> int:
    """Return the next multiple of 64 from the longest row, or from the 99th percentile if the longest is far off."""
    length = p99 if longest > OUTLIER * p99 else longest
    return LENGTH_STEP * math.ceil(length / LENGTH_STEP)


def padding(lengths: Numbers, batch_size: int, seed: int) -> float:
    """Return the share of padding in batches, in an order drawn by `seed`."""
    shuffled = np.random.default_rng(seed).permutation(lengths)
    filled = np.zeros(math.ceil(len(shuffled) / batch_size) * batch_size, np.int64)
    filled[: len(shuffled)] = shuffled
    batches = filled.reshape(-1, batch_size)
    rows = np.minimum(batch_size, len(shuffled) - batch_size * np.arange(len(batches)))
    slots = int((batches.max(axis=1) * rows).sum())
    return 1 - int(lengths.sum()) / slots if slots else 0.0


@dataclass(frozen=True)
class Fitted:
    """The rows that `data.overflow` keeps.

    Attributes:
        numbers: the rows that are left.
        supervised: their learned tokens.
        long: how many rows were longer than the limit.
        left_out: how many of those are left out, whole.
        lost: learned tokens that are lost.
    """

    numbers: Numbers
    supervised: int
    long: int
    left_out: int
    lost: int


def fit(store: Store, numbers: Numbers, limit: int, overflow: Overflow, part_name: str) -> Fitted:
    """Apply `data.overflow` to rows that are longer than `limit` tokens; errors call them `part_name` rows.

    Raises:
        FrameworkError: `overflow=fail` and a row is too long, or no supervised token is left.
    """
    lengths, supervised = store.columns.tokens[numbers], store.columns.supervised[numbers].astype(np.int64)
    before = int(supervised.sum())
    long = lengths > limit
    longest = int(lengths.max())
    if long.any() and overflow is Overflow.fail:
        row = int(numbers[long][0])
        raise FrameworkError(
            f"{int(long.sum())} of {len(numbers)} {part_name} rows are longer than trainer.max_seq_length={limit} "
            f"({store.where(row)} has {store.columns.tokens[row]} tokens, the longest {longest}): set "
            f"trainer.max_seq_length={longest}, or data.overflow=drop|truncate"
        )
    if overflow is Overflow.truncate:
        beyond = [store.supervised_after(int(index), limit) for index in numbers[long]]
        supervised[long] -= np.array(beyond, np.int64)
    else:
        supervised[long] = 0
    # A prompt that is cut asks something else, and a row without a learned token would be computed for nothing.
    keep = (supervised > 0) | (store.columns.asks[numbers] & ~long)
    if not keep.any():
        cuts = limit >= SHORTEST_CUT and store.columns.plain[numbers].any()
        several = "" if lengths.min() == longest else f"{int(lengths.min())} to "
        raise FrameworkError(
            f"trainer.max_seq_length={limit} leaves no token to learn: the {len(numbers)} {part_name} rows have "
            f"{several}{longest} tokens. Set trainer.max_seq_length={longest}"
            + (f", or data.cut={limit} to split plain text into rows" if cuts else "")
        )
    after = int(supervised.sum())
    return Fitted(numbers[keep], after, int(long.sum()), int((~keep).sum()), before - after)


def stored_rows(folder: Path, numbers: Iterable[Numbers], limit: int) -> list[Rows[TokenGroup]]:
    """Return groups of the store in a folder, once for each of `numbers`, cut at `limit` tokens; see `token_groups`."""
    store = Store(folder)
    return [token_groups(store, rows, limit) for rows in numbers]


def stored_prompts(folder: Path, numbers: Numbers) -> Rows[Prompt]:
    """Return the prompts of rows of the store in a folder."""
    return prompts_of(Store(folder), numbers)


def prompts_of(store: Store, numbers: Numbers) -> Rows[Prompt]:
    """Return the prompts of rows; plain text has none."""
    return Rows(numbers[~store.columns.plain[numbers]], lambda index: to_prompt(store.example(index)))


def token_groups(store: Store, numbers: Numbers, limit: int) -> Rows[TokenGroup]:
    """Return the groups, each row cut at `limit` tokens; a group of a table of blocks has the rows of a block."""

    def block(rows: Numbers) -> TokenGroup:
        groups = [store.token_group(int(index), limit) for index in rows[rows != blocks.NOTHING]]
        return GroupedRows(tuple(group.answer for group in groups), (Role.answer,) * len(groups))

    if numbers.ndim > 1:
        return Rows(numbers, block)
    return Rows(numbers, lambda index: store.token_group(index, limit))


def token_rows(store: Store, numbers: Numbers, limit: int) -> Rows[TokenRow]:
    """Return the answers of the groups, cut at `limit` tokens."""
    return Rows(numbers, lambda index: store.token_group(index, limit).answer)
