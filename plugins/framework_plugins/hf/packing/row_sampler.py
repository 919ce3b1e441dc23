"""In which order the rows of an epoch are seen: shuffled, but rows with a common beginning meet in a window.

The rows are shuffled, cut into windows, sorted within each, cut into batches, and the batches of a window are shuffled.
Every batch of a window is as likely to come first as last, so each row's place in the epoch is as likely as any other,
whatever the row; only its neighbours are chosen. The rows that fill no batch are the shuffle's last, not the sort's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler

from framework.api.training import TokenGroup, TokenRow
from framework_plugins.hf.packing.tree import common_prefix_length

SORT_WINDOW = 1024
"""Rows that are sorted at a time: enough for rows of one kind to meet, few enough to read while a step runs."""
SAME_KIND_SHARE = 0.5
"""Rows are of one kind that share so much of what goes beyond the beginning of all rows in the window."""


class RowSampler(Sampler[int]):
    """The numbers of rows, in a new order for each epoch; only the seed decides.

    Args:
        rows: the rows.
        batch: how many make one optimizer step.
        seed: the seed of the run.
        group: whether similar rows are brought together.
        by_length: whether similar lengths are, too.
    """

    def __init__(self, rows: Sequence[TokenGroup], batch: int, seed: int, *, group: bool, by_length: bool) -> None:
        self.rows = rows
        self.batch = batch
        self.seed = seed
        self.group = group
        self.by_length = by_length
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch])
        shuffled = random.permutation(len(self.rows)).tolist()
        if not self.group:
            yield from shuffled
            return
        full_count = len(shuffled) - len(shuffled) % self.batch
        window = max(1, SORT_WINDOW // self.batch) * self.batch
        for start in range(0, full_count, window):
            indices = shuffled[start : min(start + window, full_count)]
            near = sort_by_kind([self.rows[index].rows[0] for index in indices], by_length=self.by_length)
            batches = [near[at : at + self.batch] for at in range(0, len(near), self.batch)]
            # Only neighbours are chosen; the place of a row in the epoch stays uniform (decision 0016).
            for batch_index in random.permutation(len(batches)).tolist():
                yield from (indices[at] for at in batches[batch_index])
        yield from shuffled[full_count:]


def sort_by_kind(rows: Sequence[TokenRow], *, by_length: bool) -> list[int]:
    """Return the numbers of rows so that rows of one kind are neighbours.

    Args:
        rows: the rows of a window.
        by_length: also bring similar lengths together, which saves padding; else rows stay as shuffled as they can.
    """
    if not rows:
        return []
    order = sorted(range(len(rows)), key=lambda index: rows[index].input_ids)
    ids = [rows[index].input_ids for index in order]
    common = common_prefix_length(ids[0], ids[-1])
    kinds = [[order[0]]]
    for (left, right), index in zip(pairwise(ids), order[1:], strict=True):
        if common_prefix_length(left, right) - common >= SAME_KIND_SHARE * (min(len(left), len(right)) - common):
            kinds[-1].append(index)
        else:
            kinds.append([index])
    if by_length:
        lengths = [len(row.input_ids) for row in rows]
        for kind in kinds:
            kind.sort(key=lengths.__getitem__)
        kinds.sort(key=lambda kind: lengths[kind[len(kind) // 2]])
    else:
        for kind in kinds:
            kind.sort()
        kinds.sort(key=lambda kind: (len(kind) == 1, kind[0]))
    return [index for kind in kinds for index in kind]
