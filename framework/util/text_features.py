"""What texts are made of, for comparing them: words and pairs of neighbouring words, each a hash of 32 bits."""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Batches = Callable[[], Iterable[Sequence[str]]]
Groups = NDArray[np.int64]
Hashes = NDArray[np.uint32]

SAMPLE = 4096
COMMON = 0.2
"""A feature in more than this share of the texts is what they all have in common: an instruction, a template."""
TEMPLATE = 0.25
"""Share of all features that such ones make up at least where texts have a template; less are "the" and "is"."""
LONGEST = 20_000
"""Characters of a text that count: half of them from its beginning, half from its end."""
# A letter of a script without spaces stands for a word.
_LETTERS = r"\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{_LETTERS}]|[^\W_{_LETTERS}]+")
_END = b"\x00"
_PLAIN = bytes(
    code if code >= 128 or code == 0 or chr(code).isalnum() else 32  # noqa: PLR2004 - the end of ASCII
    for code in b"".join(bytes([code]).lower() for code in range(256))
)
"""For ASCII: small letters, and a space for what is neither letter nor digit."""
_UNSEEN = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
"""Characters without width: they split a word that is read as one."""
_MIXED = re.compile(r"[a-z][\u0370-\u052f]|[\u0370-\u052f][a-z]")
_LETTERS_OF_WORD = re.compile(r"[^\W\d_]+")
_LATIN = str.maketrans("авеікмноорсстухјѕһԁԛԝαβειηκνορτυχ", "abeikmhoopcctyxjshdqwabeinkvoptux")
"""Cyrillic and Greek letters that look like Latin ones. Only words of two alphabets are changed."""
SPACED = 0.3
"""Least share of spaces in a text whose letters may be spaced out; sentences have half of that."""
_SPACED = re.compile(r"(?<!\w)[^\W\d_](?: [^\W\d_]){3,}(?!\w)")
MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


@dataclass(frozen=True)
class Features:
    """The features of some texts: text `i` has `hashes[offsets[i]:offsets[i + 1]]`, sorted and distinct."""

    hashes: Hashes
    offsets: NDArray[np.int64]

    @property
    def sizes(self) -> NDArray[np.int64]:
        """How many features each text has."""
        return np.diff(self.offsets)


def features(texts: Sequence[str], common: Hashes | None = None) -> Features:
    """Return the words of each text and the pairs of neighbours; a text without words is its own feature.

    Features in `common` do not count, unless a text has no others.
    """
    if not texts:
        return Features(np.zeros(0, np.uint32), np.zeros(1, np.int64))
    words = _hash(_words(texts))
    end = words == _hash([_END])
    text = np.cumsum(end, dtype=np.uint64)
    pair = ~end[1:] & ~end[:-1]
    pairs = ((words[:-1][pair] * MIX) ^ words[1:][pair]) * MIX
    keys = np.concatenate([_key(text[~end], words[~end]), _key(text[:-1][pair], pairs >> _HALF)])
    if len(bare := np.flatnonzero(np.bincount((keys >> _HALF).astype(np.int64), minlength=len(texts)) == 0)):
        itself = _hash([texts[int(index)].strip().encode() for index in bare])
        keys = np.concatenate([keys, _key(bare.astype(np.uint64), itself)])
    # In place, and sorted: the features of a text are one stretch, with equal ones side by side.
    keys.sort()
    keys = keys[np.concatenate([[True], keys[1:] != keys[:-1]])]  # np.unique takes twenty times as long
    if common is not None and len(common):
        keys = _without(keys, common, len(texts))
    offsets = np.searchsorted(keys, np.arange(len(texts) + 1, dtype=np.uint64) << _HALF)
    return Features(keys.astype(np.uint32), offsets.astype(np.int64))


def _words(texts: Sequence[str]) -> list[bytes]:
    """Return the words of all texts, an end after each; ASCII goes the fast way, ten times as fast as the pattern."""
    half = LONGEST // 2
    cut = (text if len(text) <= LONGEST else f"{text[:half]} {text[-half:]}" for text in texts)
    plain = (text if text.isascii() else " ".join(WORD.findall(text.casefold())) for text in map(as_read, cut))
    end = _END.decode()
    return "".join(f"{text.replace(end, ' ')} {end} " for text in plain).encode().translate(_PLAIN).split()


def as_read(text: str) -> str:
    """Return a text as a person reads it: in one alphabet, without invisible characters and spaced-out letters."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", _UNSEEN.sub("", text)).casefold()
        if _MIXED.search(text):
            text = _LETTERS_OF_WORD.sub(
                lambda word: word[0].translate(_LATIN) if _MIXED.search(word[0]) else word[0], text
            )
    if text.count(" ") > SPACED * len(text):
        text = _SPACED.sub(lambda match: match.group().replace(" ", ""), text)
    return text


def _hash(words: list[bytes]) -> NDArray[np.uint64]:
    """Hash each word to 64 bits, the same in every process; they differ if the 32 of its checksum do."""
    sums = np.fromiter(map(zlib.crc32, words), np.uint64, len(words)) * MIX
    return sums ^ (sums >> _HALF)


def _key(text: NDArray[np.uint64], hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Put the number of a text above 32 bits of a hash."""
    return (text << _HALF) | (hashed & np.uint64(0xFFFFFFFF))


def _without(keys: NDArray[np.uint64], common: Hashes, count: int) -> NDArray[np.uint64]:
    telling = ~np.isin(keys.astype(np.uint32), common)
    text = (keys >> _HALF).astype(np.int64)
    nothing_left = np.bincount(text[telling], minlength=count) == 0
    return np.asarray(keys[telling | nothing_left[text]])


def common_features(batches: Batches, count: int) -> Hashes:
    """Return the features that many texts share, by an even sample; none if they are only what any text has."""
    every = max(1, count // SAMPLE)
    numbers = itertools.count()
    chosen = ([text for text in texts if next(numbers) % every == 0] for texts in batches())
    parts = [features(texts) for texts in chosen if texts]
    if not parts:
        return np.zeros(0, np.uint32)
    all_hashes = np.concatenate([part.hashes for part in parts])
    hashes, times = np.unique(all_hashes, return_counts=True)
    # At least three texts: a feature of two texts out of two is not a template.
    often = times > max(COMMON * sum(len(part.sizes) for part in parts), 2)
    return hashes[often & bool(times[often].sum() >= TEMPLATE * len(all_hashes))]


def similarities(features: Features, left: Groups, right: Groups) -> NDArray[np.float64]:
    """Return for each pair of texts the share of their features that they have in common."""
    indices = np.concatenate([left, right])
    sizes = features.offsets[indices + 1] - features.offsets[indices]
    ends = np.cumsum(sizes)
    places = np.repeat(features.offsets[indices] + sizes - ends, sizes) + np.arange(ends[-1] if len(ends) else 0)
    pair = np.repeat(np.tile(np.arange(len(left), dtype=np.uint64), 2), sizes)
    keys = np.sort((pair << _HALF) | features.hashes[places])
    twice = keys[1:][keys[1:] == keys[:-1]] >> _HALF
    shared = np.bincount(twice.astype(np.int64), minlength=len(left))
    return np.asarray(shared / np.maximum(sizes[: len(left)] + sizes[len(left) :] - shared, 1))
