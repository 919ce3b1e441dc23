"""Near-duplicates among many texts, by MinHash: memory grows by some 100 bytes a text, whatever its length.

    group(lambda: iter([["What is the capital of France?", "what's the capital of France"]]), 2)

Texts are compared as sets of words and pairs of neighbouring words, each a hash of 32 bits. Texts that agree in one of
16 bands of four minima are candidates (locality-sensitive hashing: Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, 3.4); of those, the share of features that they have in common (Jaccard) is counted exactly.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from framework.util.files import naming
from framework.util.text_features import MIX, Batches, Features, Groups, Hashes, features, similarities

MINIMA, BANDS = 64, 16
SIMILARITY = 0.75
"""The least share of features that near-duplicates have in common: one word of eleven may differ."""
ESTIMATE_ERROR = 0.15
"""How far the estimate by minima may lie below the share itself, which is counted for the rest only."""
SCRATCH = ".near-"
"""How the name of a folder begins in which files lie meanwhile."""
MAX_PAIRED_TEXTS = 100_000
"""Texts whose neighbours are paired at once."""
MAX_FEATURES_AT_ONCE = 500_000
"""Features that are compared at once, at most."""
_DRAWN = np.arange(1, 2 * MINIMA + 1, dtype=np.uint64) * MIX
_DRAWN = ((_DRAWN ^ (_DRAWN >> np.uint64(30))) * MIX >> np.uint64(32)).astype(np.uint32)
_ORDERS = (_DRAWN[:MINIMA] | np.uint32(1), _DRAWN[MINIMA:])
"""Odd factors, so that no two features become one, and terms; the same in every process."""


def group(
    batches: Batches,
    count: int,
    *,
    similarity: float = SIMILARITY,
    common: Hashes | None = None,
    folder: Path | None = None,
) -> Groups:
    """Number the texts so that near-duplicates share a number, that of the first of them.

    Args:
        batches: gives the texts, in batches, each time it is called.
        count: how many there are.
        similarity: share of their features that two texts need in common.
        common: features that do not count, from `common_features`: the others distinguish texts of one template.
        folder: where some 400 bytes a text are kept meanwhile; by default that of temporary files.

    Returns:
        `count` numbers. Groups are closed: whoever resembles a member belongs to it. They do not depend on the order.
    """
    labels: Groups = np.arange(count)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as scratch:
        index = _Index(Path(scratch), count)
        for texts in batches():
            if texts:
                index.add(features(texts, common))
        for left, right in index.candidates() if count else ():
            # Pairs that others have joined already need no comparison.
            unjoined = np.flatnonzero(labels[left] != labels[right])
            alike = unjoined[index.alike(left[unjoined], right[unjoined], similarity)]
            labels = join(labels, left[alike], right[alike])
    return labels


class _Index:
    """Minima of all texts, a byte of each; their features and the keys of their bands in files."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.minima = np.empty((count, MINIMA), np.uint8)
        self.content = np.empty(count, np.uint64)
        self.offsets = np.zeros(count + 1, np.int64)
        self.filled = 0

    def add(self, batch: Features) -> None:
        rows = slice(self.filled, self.filled + len(batch.sizes))
        flat, minima = batch.hashes.astype(np.uint64), _minima(batch)
        self.minima[rows] = minima  # the lowest byte: one in 256 agrees by chance
        # A sum does not depend on the order: the candidates, and so the groups, follow from the content only.
        self.content[rows] = np.add.reduceat((flat * MIX) ^ (flat >> np.uint64(7)), batch.offsets[:-1])
        self.offsets[rows.start + 1 : rows.stop + 1] = self.offsets[rows.start] + batch.offsets[1:]
        self.filled = rows.stop
        for name, values in {"features": batch.hashes, **_band_keys(minima)}.items():
            file = self.folder / name
            with naming(file), file.open("ab") as opened:
                opened.write(values.tobytes())  # not `tofile`, which does not see that a disk is full

    def candidates(self) -> Iterator[tuple[Groups, Groups]]:
        """Pair the texts of one key: each with the next one, in an order that their content gives, and the first."""
        by_content = np.argsort(self.content)
        for band in range(BANDS):
            keys = np.fromfile(self.folder / str(band), dtype=np.uint64)[by_content]
            # Stable, so that texts of one key stay in the order of their content.
            order = np.argsort(keys, kind="stable")
            keys, order = keys[order], by_content[order]
            head = 0  # of the texts with this key; in blocks, for of a million texts there are as many pairs
            for start in range(1, len(keys), MAX_PAIRED_TEXTS):
                positions = np.arange(start, min(start + MAX_PAIRED_TEXTS, len(keys)))
                equal = keys[positions] == keys[positions - 1]
                heads = np.maximum.accumulate(np.where(equal, head, positions))
                again, head = positions[equal], int(heads[-1])
                yield order[np.concatenate([again - 1, heads[equal]])], order[np.tile(again, 2)]

    def alike(self, left: Groups, right: Groups, similarity: float) -> NDArray[np.bool_]:
        """Tell which pairs have enough in common."""
        likely = np.zeros(len(left), dtype=bool)
        for start in range(0, len(left), MAX_PAIRED_TEXTS):
            part = slice(start, start + MAX_PAIRED_TEXTS)
            agreeing = (self.minima[left[part]] == self.minima[right[part]]).mean(axis=1)
            likely[part] = agreeing >= similarity - ESTIMATE_ERROR
        chosen = np.flatnonzero(likely)
        if not len(chosen):
            return likely
        sizes = np.diff(self.offsets)
        costs = np.cumsum(sizes[left[chosen]] + sizes[right[chosen]])
        for pairs in np.split(chosen, np.flatnonzero(np.diff(costs // MAX_FEATURES_AT_ONCE)) + 1):
            rows, places = np.unique(np.concatenate([left[pairs], right[pairs]]), return_inverse=True)
            subset = self._read(rows)
            likely[pairs] = similarities(subset, places[: len(pairs)], places[len(pairs) :]) >= similarity
        return likely

    def _read(self, rows: Groups) -> Features:
        """Read the features of some texts; a memory map would keep in memory what it has read."""
        starts, sizes = 4 * self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        parts = []
        with (self.folder / "features").open("rb", buffering=0) as file:
            for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
                file.seek(start)
                parts.append(file.read(4 * size) or b"")
        return Features(np.frombuffer(b"".join(parts), np.uint32), np.append(0, np.cumsum(sizes)))


def _minima(batch: Features) -> NDArray[np.uint32]:
    """Return for each text the smallest of its features in `MINIMA` orders, each a multiplication and an addition."""
    minima = np.empty((len(batch.sizes), MINIMA), np.uint32)
    order = np.empty_like(batch.hashes)
    for column, (factor, term) in enumerate(zip(*_ORDERS, strict=True)):
        np.multiply(batch.hashes, factor, out=order)
        np.add(order, term, out=order)
        np.minimum.reduceat(order, batch.offsets[:-1], out=minima[:, column])
    return minima


def _band_keys(minima: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """Mix the minima of each band into one number; a collision costs a comparison, nothing else."""
    wide = minima.astype(np.uint64).reshape(len(minima), BANDS, -1)
    keys = np.zeros((len(minima), BANDS), dtype=np.uint64)
    for column in range(wide.shape[2]):
        keys = (keys ^ wide[:, :, column]) * MIX
        keys ^= keys >> np.uint64(29)
    return {str(band): keys[:, band] for band in range(BANDS)}


def join(labels: Groups, left: Groups, right: Groups) -> Groups:
    """Give both sides of each pair, and all that have their numbers, the smaller number."""
    while (labels[left] != labels[right]).any():
        low = np.minimum(labels[left], labels[right])
        roots = labels.copy()
        np.minimum.at(roots, labels[left], low)
        np.minimum.at(roots, labels[right], low)
        # Pairs form chains: a number that is not its own root leads to one that is smaller.
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]
        labels = roots[labels]
    return labels
