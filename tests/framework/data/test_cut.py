"""framework/data/cut.py with a tokenizer whose tokens are bytes: a character may be four of them."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.protocols import Model
from framework.api.records import IGNORE, Example
from framework.data.cut import HALF, pieces
from framework_plugins.hf.tokens.chat import Chat
from tests.support.examples import examples
from tests.support.families import family_tokenizer, stop_ids


class Reads:
    """The part of a model that cuts need."""

    def __init__(self, name: str) -> None:
        self.tokenizer = family_tokenizer(name)
        self.stop_ids = stop_ids(name)
        self.chat = Chat(self.tokenizer, self.stop_ids)

    def decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=False))


def cut(name: str, text: str, limit: int) -> list[tuple[Example, Any]]:
    model = Reads(name)
    example = Example((), "text", "book.txt:1", text=text)
    return pieces(example, model.chat.encode([example])[0], limit, cast("Model", model))


@pytest.mark.parametrize("name", ["chatml", "llama3"])
@settings(max_examples=examples(60))
@given(
    text=st.text(st.sampled_from("ab äß€日😀👩\n"), min_size=30, max_size=200),
    limit=st.integers(min_value=8, max_value=40),
)
def test_the_pieces_are_the_text_and_none_ends_within_a_character(name: str, text: str, limit: int) -> None:
    made = cut(name, text, limit)
    assert all(len(row.input_ids) <= limit for _, row in made)
    assert "".join(example.text or "" for example, _ in made) == text
    assert not any(HALF in (example.text or "") for example, _ in made)
    learned = [label for _, row in made for label in row.labels if label != IGNORE]
    whole = Reads(name).chat.encode([Example((), "text", "book.txt:1", text=text)])[0]
    assert learned == [label for label in whole.labels if label != IGNORE]
