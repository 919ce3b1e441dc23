"""plugins/framework_hf/generate.py: what of the generated tokens is the answer."""

from __future__ import annotations

import pytest

from framework_hf.generate import THOUGHT


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("<think>\n\n</think>\n\n{}", "{}"),
        ("\n<think>two lines\nof thought</think> yes", "yes"),
        ("I say <think>x</think>", "I say <think>x</think>"),
        ("<think>never ends", "<think>never ends"),
    ],
)
def test_a_leading_thought_is_no_part_of_the_answer(said: str, answer: str) -> None:
    assert THOUGHT.sub("", said) == answer
