"""A clean corpus for all tests of the audit."""

from __future__ import annotations

import pytest
from rapidfuzz import fuzz, process

from tests.plugins.audit.made import (
    Pair,
    chatterbot,
    shuffled,
)


@pytest.fixture(scope="session")
def clean() -> list[Pair]:
    """The corpus without what it really holds twice: of questions whose letters agree to four fifths, the first.

    That is measured by edits of letters, not by the words that the audit compares. The first answer is kept.
    """
    kept: dict[str, Pair] = {}
    for asked, answered in dict.fromkeys(chatterbot()):
        letters = "".join(letter for letter in asked.lower() if letter.isalnum())
        if process.extractOne(letters, kept.keys(), scorer=fuzz.ratio, score_cutoff=80) is None:
            kept[letters] = (asked, answered)
    return shuffled(list(kept.values()))
