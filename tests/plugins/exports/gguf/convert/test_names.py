"""A run's name does not change how its special tokens are read."""

from __future__ import annotations

from typing import Any

import pytest

from framework_plugins.exports.gguf.convert import names


def tokenizer(*, swallows: bool, tokens: tuple[str, ...] = ("<|end|>", "<|endoftext|>")) -> dict[str, Any]:
    added = [{"content": text, "special": True, "rstrip": swallows and text == "<|end|>"} for text in tokens]
    return {"added_tokens": added}


@pytest.mark.parametrize(
    ("name", "swallowing", "plain"),
    [
        ("orders", "orders (Phi-3)", "orders"),
        ("Phi-3 orders", "Phi-3 orders", "Phi 3 orders"),
        ("my-PHI3.5", "my-PHI3.5", "my-PHI 3.5"),
        ("phi-4", "phi-4 (Phi-3)", "phi-4"),
    ],
)
def test_it_holds_phi_3_where_tokens_swallow_spaces_and_nowhere_else(name: str, swallowing: str, plain: str) -> None:
    assert names.inside(name, tokenizer(swallows=True)) == swallowing
    assert names.inside(name, tokenizer(swallows=False)) == plain
    assert names.inside(name, tokenizer(swallows=True, tokens=("<|end|>",))) == plain
