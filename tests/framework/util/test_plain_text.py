"""framework/util/plain_text.py: case, punctuation and spaces are form, signs of numbers and names are not."""

from __future__ import annotations

import pytest

from framework.util.plain_text import plain_text


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Positive.", "positive"),
        ('{"item": "chair",  "qty": 5}', "item chair qty 5"),
        ("-5,", "-5"),
        ("(3.14)", "3.14"),
        ("C++.", "c++"),
        ("$5.00!", "$5.00"),
        ("東京。", "東京"),
        ("Don't!", "don't"),
        (" ... ", "..."),
        ("", ""),
    ],
)
def test_the_form_is_left_out(text: str, plain: str) -> None:
    assert plain_text(text) == plain
