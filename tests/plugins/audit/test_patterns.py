"""Patterns over many texts at once: the right row, and no time lost on what is made to cost time."""

from __future__ import annotations

import dataclasses
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.audit.config import Check
from framework_plugins.audit.texts import PATTERNS
from framework_plugins.lib.patterns import JoinedTexts, Pattern
from tests.plugins.audit.made import FAULTS

LETTERS = st.text(alphabet="abxİß\n ", max_size=8)


@given(st.lists(LETTERS, max_size=12), st.booleans(), st.booleans())
def test_a_match_is_reported_of_the_row_it_stands_in(texts: list[str], small: bool, opening: bool) -> None:  # noqa: FBT001 - drawn
    regex = re.compile(r"^x" if opening else r"x", re.MULTILINE)
    pattern = Pattern(Check.refusals, "an x", ("x",), regex, small=small, opening=opening)
    looked_at = [text.lower() if small else text for text in texts]
    expected = [row for row, text in enumerate(looked_at) if (text.startswith("x") if opening else "x" in text)]
    assert list(JoinedTexts(texts).rows(pattern)) == expected


def test_a_condition_is_asked_for_every_match() -> None:
    pattern = Pattern(Check.secrets, "a number", (), re.compile(r"\d+"), lambda found: int(found[0]) > 5)
    assert list(JoinedTexts(["3 4", "7", "none", "1 then 9"]).rows(pattern)) == [1, 3]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: f"{pattern.check}-{pattern.kind}")
def test_every_pattern_finds_something_and_its_marks_hide_nothing(pattern: Pattern) -> None:
    check_rows = [rows for check, rows in FAULTS.values() if check == pattern.check]
    texts = [text for rows in check_rows for row in rows for text in row]
    without_marks = dataclasses.replace(pattern, marks=())
    found = [text for text in texts if list(JoinedTexts([text]).rows(without_marks))]
    assert found
    assert [text for text in texts if list(JoinedTexts([text]).rows(pattern))] == found


@pytest.mark.parametrize(
    "piece",
    [
        "@a.",
        "sk-",
        "://a:",
        "A ",
        ".",
        "a",
        "eyJ",
        "eyJaaaaaaaaaa.",
        "\u00d0",
        "i'm sorry ",
        "as an ai ",
        "api_key ",
        "password",
        "api key \t\t\t\t",
        "SG.",
    ],
)
@pytest.mark.parametrize("before", ["", "-----BEGIN ", "api_key=", "@", "eyJ"])
def test_no_text_costs_more_than_its_length(before: str, piece: str) -> None:
    joined = JoinedTexts([before + piece * (300_000 // len(piece))])
    start = time.process_time()
    for pattern in PATTERNS:
        list(joined.rows(pattern))
    assert time.process_time() - start < 3
