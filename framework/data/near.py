"""Near-duplicates among many texts, by MinHash: memory grows by some 100 bytes a text, whatever its length.

    group(lambda: iter([["What is the capital of France?", "what's the capital of France"]]), 2)

Texts are compared as sets of words and pairs of neighbouring words, each a hash of 32 bits. Texts that agree in one of
16 bands of four minima (`rensa`) are candidates (locality-sensitive hashing: Leskovec, Rajaraman, Ullman, Mining of
Massive Datasets, 3.4); of those, the share of features that they have in common (Jaccard) is counted exactly.
"""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

Batches = Callable[[], Iterable[Sequence[str]]]
Groups = NDArray[np.int64]
Hashes = NDArray[np.uint32]

MINIMA, BANDS = 64, 16
SIMILARITY = 0.75
"""Share of their features that near-duplicates have in common at least: one word of eleven may differ."""
DOUBT = 0.15
"""How far the estimate by minima may lie below the share itself, which is counted for the rest only."""
SAMPLE = 4096
COMMON = 0.2
"""A feature in more than this share of the texts is what they all have in common: an instruction, a template."""
TEMPLATE = 0.25
"""Share of all features that such ones make up at least where texts have a template; less are "the" and "is"."""
LONGEST = 20_000
"""Characters of a text that count: half of them from its beginning, half from its end."""
SCRATCH = ".near-"
"""How the name of a folder begins in which files lie meanwhile."""
COUNTED = 500_000
"""Features that are compared at once, at most."""
# A letter of a script without spaces stands for a word.
_LETTERS = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_LETTERS}]|[^\W_{_LETTERS}]+")
_END = "\x00"
_PLAIN = bytes(
    code if code >= 128 or code == 0 or chr(code).isalnum() else 32  # noqa: PLR2004 - the end of ASCII
    for code in b"".join(bytes([code]).lower() for code in range(256))
)
"""For ASCII: small letters, and a space for what is neither letter nor digit."""
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Features:
    """What some texts are made of: text `i` of `hashes[offsets[i]:offsets[i + 1]]`, sorted and all different."""

    hashes: Hashes
    offsets: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many features each text has."""
        return np.diff(self.offsets)


def features(texts: Sequence[str], common: Hashes | None = None) -> Features:
    """Return the words of each text and the pairs of neighbours; of a text without words, itself.

    Features in `common` do not count, unless a text has no others.
    """
    if not texts:
        return Features(np.zeros(0, np.uint32), np.zeros(1, np.int64))
    words = _hash(_words(texts))
    end = words == _hash([_END])
    text = np.cumsum(end, dtype=np.uint64)
    pair = ~end[1:] & ~end[:-1]
    pairs = ((words[:-1][pair] * _MIX) ^ words[1:][pair]) * _MIX
    keys = np.concatenate([_key(text[~end], words[~end]), _key(text[:-1][pair], pairs >> _HALF)])
    if len(bare := np.flatnonzero(np.bincount((keys >> _HALF).astype(np.int64), minlength=len(texts)) == 0)):
        itself = _hash([texts[int(number)].strip() for number in bare])
        keys = np.concatenate([keys, _key(bare.astype(np.uint64), itself)])
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique takes twenty times as long
    if common is not None and len(common):
        keys = _without(keys, common, len(texts))
    offsets = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << _HALF)
    return Features(keys.astype(np.uint32), offsets.astype(np.int64))


def _words(texts: Sequence[str]) -> list[str]:
    """Return the words of all texts, an end after each; ASCII goes the fast way, ten times as fast as the pattern."""
    half = LONGEST // 2
    cut = (text if len(text) <= LONGEST else f"{text[:half]} {text[-half:]}" for text in texts)
    plain = (text if text.isascii() else " ".join(WORD.findall(text.casefold())) for text in cut)
    return "".join(f"{text.replace(_END, ' ')} {_END} " for text in plain).encode().translate(_PLAIN).decode().split()


def _hash(words: list[str]) -> NDArray[np.uint64]:
    return np.asarray(RMinHash.hash_token_sets([words])[0], dtype=np.uint64)


def _key(text: NDArray[np.uint64], hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put the number of a text above 32 bits of a hash."""
    return (text << _HALF) | (hashed & np.uint64(0xFFFFFFFF))


def _without(keys: NDArray[np.uint64], common: Hashes, count: int) -> NDArray[np.uint64]:
    telling = ~np.isin(keys.astype(np.uint32), common)
    text = (keys >> _HALF).astype(np.int64)
    nothing_left = np.bincount(text[telling], minlength=count) == 0
    return np.asarray(keys[telling | nothing_left[text]])


def common_features(batches: Batches, count: int) -> Hashes:
    """Return the features that many texts share, out of an even sample; none where they are only what any text has."""
    every = max(1, count // SAMPLE)
    numbers = itertools.count()
    chosen = ([text for text in texts if next(numbers) % every == 0] for texts in batches())
    found = [features(texts) for texts in chosen if texts]
    if not found:
        return np.zeros(0, np.uint32)
    everything = np.concatenate([part.hashes for part in found])
    hashes, times = np.unique(everything, return_counts=True)
    often = times > max(COMMON * sum(len(part.sizes) for part in found), 2)
    return hashes[often & bool(times[often].sum() >= TEMPLATE * len(everything))]


def similarities(made: Features, left: Groups, right: Groups) -> NDArray[np.float64]:
    """Return for each pair of texts the share of their features that they have in common."""
    both = np.concatenate([left, right])
    sizes = made.offsets[both + 1] - made.offsets[both]
    ends = np.cumsum(sizes)
    places = np.repeat(made.offsets[both] + sizes - ends, sizes) + np.arange(ends[-1] if len(ends) else 0)
    pair = np.repeat(np.tile(np.arange(len(left), dtype=np.uint64), 2), sizes)
    keys = np.sort((pair << _HALF) | made.hashes[places])
    twice = keys[1:][keys[1:] == keys[:-1]] >> _HALF
    shared = np.bincount(twice.astype(np.int64), minlength=len(left))
    return np.asarray(shared / np.maximum(sizes[: len(left)] + sizes[len(left) :] - shared, 1))


def group(
    batches: Batches,
    count: int,
    *,
    similarity: float = SIMILARITY,
    common: Hashes | None = None,
    folder: Path | None = None,
) -> Groups:
    """Number the texts so that near-duplicates have one number, that of the first of them.

    Args:
        batches: gives the texts, in batches, each time it is called.
        count: how many there are.
        similarity: share of their features that two texts need in common.
        common: features that do not count, from `common_features`: texts of one template are told apart by the rest.
        folder: where some 400 bytes a text are kept meanwhile; by default that of temporary files.

    Returns:
        `count` numbers. Groups are closed: whoever resembles a member belongs to it. They do not depend on the order.
    """
    labels: Groups = np.arange(count)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder) as held:
        index = _Index(Path(held), count)
        for texts in batches():
            if texts:
                index.add(features(texts, common))
        for left, right in index.candidates() if count else ():
            apart = np.flatnonzero(labels[left] != labels[right])
            alike = apart[index.alike(left[apart], right[apart], similarity)]
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

    def add(self, made: Features) -> None:
        rows = slice(self.filled, self.filled + len(made.sizes))
        flat, offsets = made.hashes.astype(np.uint64), made.offsets.astype(np.uint64)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, MINIMA, 42)
        minima = np.asarray(matrix.to_rows(), dtype=np.uint32)
        self.minima[rows] = minima
        self.content[rows] = np.add.reduceat((flat * _MIX) ^ (flat >> np.uint64(7)), made.offsets[:-1])
        self.offsets[rows.start + 1 : rows.stop + 1] = self.offsets[rows.start] + made.offsets[1:]
        self.filled = rows.stop
        for name, values in {"features": made.hashes, **_band_keys(minima)}.items():
            with (self.folder / name).open("ab") as file:
                values.tofile(file)

    def candidates(self) -> Iterator[tuple[Groups, Groups]]:
        """Pair the texts of one key: each with the next one, in an order that their content gives, and the first."""
        by_content = np.argsort(self.content)
        for band in range(BANDS):
            keys = np.fromfile(self.folder / str(band), dtype=np.uint64)[by_content]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            same = keys[1:] == keys[:-1]
            order, again = by_content[order], np.flatnonzero(same) + 1
            starts = np.append(0, np.flatnonzero(~same) + 1)
            first = starts[np.searchsorted(starts, again, side="right") - 1]
            yield order[np.concatenate([again - 1, first])], order[np.tile(again, 2)]

    def alike(self, left: Groups, right: Groups, similarity: float) -> NDArray[np.bool_]:
        """Tell which pairs have enough in common."""
        likely = np.zeros(len(left), dtype=bool)
        for start in range(0, len(left), 100_000):
            part = slice(start, start + 100_000)
            agreeing = (self.minima[left[part]] == self.minima[right[part]]).mean(axis=1)
            likely[part] = agreeing >= similarity - DOUBT
        chosen = np.flatnonzero(likely)
        if not len(chosen):
            return likely
        sizes = np.diff(self.offsets)
        costs = np.cumsum(sizes[left[chosen]] + sizes[right[chosen]])
        for pairs in np.split(chosen, np.flatnonzero(np.diff(costs // COUNTED)) + 1):
            rows, places = np.unique(np.concatenate([left[pairs], right[pairs]]), return_inverse=True)
            made = self._read(rows)
            likely[pairs] = similarities(made, places[: len(pairs)], places[len(pairs) :]) >= similarity
        return likely

    def _read(self, rows: Groups) -> Features:
        """Read the features of some texts; a memory map would keep in memory what it has read."""
        starts, sizes = 4 * self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        with (self.folder / "features").open("rb") as file:
            number = file.fileno()
            parts = [
                os.pread(number, 4 * size, start) for start, size in zip(starts.tolist(), sizes.tolist(), strict=True)
            ]
        return Features(np.frombuffer(b"".join(parts), np.uint32), np.append(0, np.cumsum(sizes)))


def _band_keys(minima: NDArray[np.uint32]) -> dict[str, NDArray[Any]]:
    """Mix the minima of each band into one number; a collision costs a comparison, nothing else."""
    wide = minima.astype(np.uint64).reshape(len(minima), BANDS, -1)
    keys = np.zeros((len(minima), BANDS), dtype=np.uint64)
    for column in range(wide.shape[2]):
        keys = (keys ^ wide[:, :, column]) * _MIX
        keys ^= keys >> np.uint64(29)
    return {str(band): keys[:, band] for band in range(BANDS)}


def join(labels: Groups, left: Groups, right: Groups) -> Groups:
    """Give both sides of each pair, and all that have their numbers, the smaller number."""
    while (labels[left] != labels[right]).any():
        low = np.minimum(labels[left], labels[right])
        roots = labels.copy()
        np.minimum.at(roots, labels[left], low)
        np.minimum.at(roots, labels[right], low)
        while not np.array_equal(roots, roots[roots]):
            roots = roots[roots]
        labels = roots[labels]
    return labels
