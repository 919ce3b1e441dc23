"""hf/generate/calls.py: the calls that a chat template writes are read again."""

from __future__ import annotations

import pytest

from framework.api import Message, ToolCall
from framework_plugins.hf.generate.calls import CallParser
from framework_plugins.lib.turns import as_turns
from tests.support.families import family_tokenizer

PROPERTIES = {"city": {"type": "string", "description": "c"}, "days": {"type": "integer", "description": "d"}}
PARAMETERS = {"type": "object", "properties": PROPERTIES, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "weather", "description": "w", "parameters": PARAMETERS}}
CALLS = (ToolCall("weather", {"city": "Bern", "days": 3}), ToolCall("weather", {"city": "Rome, Italy", "days": 1}))


@pytest.mark.parametrize("family", ["qwen3_published", "qwen3_5", "gemma4", "glm4", "lfm2"])
def test_the_calls_of_a_family_are_read(family: str) -> None:
    tokenizer = family_tokenizer(family)
    turns = as_turns([Message("user", "What is the weather?"), Message("assistant", "", CALLS)])
    before = tokenizer.apply_chat_template(turns[:1], tools=[WEATHER], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template(turns, tools=[WEATHER], tokenize=False)
    prefix, ids = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (before, whole[len(before) :]))
    parser = CallParser(tokenizer)
    assert parser.calls(ids, prefix, [WEATHER]) == CALLS
    assert parser.calls(tokenizer("Sunny.", add_special_tokens=False)["input_ids"], prefix, [WEATHER]) == ()


def test_a_template_whose_calls_nothing_reads_is_an_error() -> None:
    with pytest.raises(ValueError, match="chat template"):
        CallParser(family_tokenizer("olmo3"))
