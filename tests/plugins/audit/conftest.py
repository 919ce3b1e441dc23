"""A clean corpus for all tests of the audit."""

from __future__ import annotations

import functools
from collections import Counter
from difflib import SequenceMatcher

import pytest

from tests.plugins.audit.made import Pair, chatterbot, shuffled


@pytest.fixture(scope="session")
def clean() -> list[Pair]:
    """The corpus without what it really holds twice: of questions whose letters agree to four fifths, the first.

    That is measured by edits of letters, not by the words that the audit compares. The first answer is kept.
    """
    kept: dict[str, Pair] = {}
    for asked, answered in dict.fromkeys(chatterbot()):
        letters = "".join(letter for letter in asked.lower() if letter.isalnum())
        if not any(_alike(letters, other) for other in kept):
            kept[letters] = (asked, answered)
    return shuffled(list(kept.values()))


def _alike(one: str, two: str) -> bool:
    """Whether four fifths of the letters agree; most pairs are decided by how often each letter occurs."""
    least = 0.4 * (len(one) + len(two))
    if min(len(one), len(two)) < least or (_occurring(one) & _occurring(two)).total() < least:
        return False
    return SequenceMatcher(None, one, two, autojunk=False).ratio() >= 0.8


_occurring = functools.cache(Counter[str])
