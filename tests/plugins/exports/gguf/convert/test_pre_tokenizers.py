"""Byte-level tokenizers are recognized by how they cut words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from framework_gpu_tests.tiny import LLAMA3_WORDS
from framework_plugins.exports.gguf.convert.pre_tokenizers import pre_tokenizer_name
from tests.support.families import core_tokenizer


def tokenizer(cutter: Any, *, whole: bool = False) -> dict[str, Any]:
    core = core_tokenizer("bytes")
    core.pre_tokenizer = cutter
    said: dict[str, Any] = json.loads(core.to_str())
    said["model"]["ignore_merges"] = whole
    return said


def split(expression: str) -> Any:
    from tokenizers import Regex, pre_tokenizers

    parts = [
        pre_tokenizers.Split(Regex(expression), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    return pre_tokenizers.Sequence(parts)


@pytest.mark.parametrize(
    ("expression", "whole", "name"),
    [
        (LLAMA3_WORDS, True, "llama-bpe"),
        (LLAMA3_WORDS, False, "dbrx"),
        (LLAMA3_WORDS.replace("{1,3}", ""), False, "qwen2"),
        (LLAMA3_WORDS.replace("{1,3}", "{1,2}"), False, None),
    ],
)
def test_by_an_expression(expression: str, whole: bool, name: str | None) -> None:  # noqa: FBT001 - of the table
    assert pre_tokenizer_name(tokenizer(split(expression), whole=whole)) == name


def test_by_the_expression_of_gpt_2_with_and_without_single_digits() -> None:
    from tokenizers import pre_tokenizers

    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    assert pre_tokenizer_name(tokenizer(as_bytes)) == "gpt-2"
    assert pre_tokenizer_name(tokenizer(as_bytes, whole=True)) is None
    assert pre_tokenizer_name(tokenizer(pre_tokenizers.Sequence([digits, as_bytes]))) == "smollm"
    assert pre_tokenizer_name(tokenizer(pre_tokenizers.Sequence([pre_tokenizers.Punctuation(), as_bytes]))) is None


def test_one_that_cuts_nothing_is_unknown() -> None:
    said = tokenizer(split(LLAMA3_WORDS))
    assert pre_tokenizer_name({**said, "pre_tokenizer": None}) is None
