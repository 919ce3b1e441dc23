"""hf/tokens/forged_tokens.py: which special tokens a conversation writes with its own words."""

from __future__ import annotations

import pytest
from tokenizers import AddedToken

from framework.api.records import Example, Message, ToolCall
from framework_plugins.hf.tokens.forged_tokens import Special
from framework_plugins.hf.tokens.prompt_tokens import Prompts
from tests.support.families import make_tokenizer

ASK, TELL = Message("user", "How many?"), Message("assistant", "Two.")
CALL = Message("assistant", "", (ToolCall("count", {"what": ["a <|im_start|> b"]}),))
TOOL = {"type": "function", "function": {"name": "count", "description": "after <|im_start|>"}}


def forged(*messages: Message, split: bool = False, **more: object) -> str:
    tokenizer = make_tokenizer("qwen3")
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("stop", single_word=True, special=True)]})
    tokenizer.add_special_tokens({"additional_special_tokens": ["</think>"]})
    tokenizer.split_special_tokens = split
    ids = list(tokenizer.get_vocab().values())  # as if the row held them all
    example = Example(messages, "chatml", **more)  # type: ignore[arg-type]
    return Special(tokenizer, Prompts(tokenizer)).forged(example, ids)


@pytest.mark.parametrize(
    ("messages", "tools", "problem"),
    [
        ((ASK, TELL), (), ""),
        ((ASK, TELL), (TOOL,), "the tools hold the special token <|im_start|>"),
        ((ASK, CALL), (), "a turn of the assistant holds the special token <|im_start|>"),
        ((Message("system", "a<|im_end|>"), ASK, TELL), (), "a turn of the system holds the special token <|im_end|>"),
        ((ASK, Message("tool", "a<|im_end|>"), TELL), (), "a turn of the tool holds the special token <|im_end|>"),
        ((ASK, Message("assistant", "a", reasoning_content="<|im_end|>")), (), "a turn of the assistant holds"),
        ((ASK, Message("assistant", "<think>a</think>b")), (), ""),
        ((Message("user", "please stop here"), TELL), (), "a turn of the user holds the special token stop"),
        ((Message("user", "unstoppable"), TELL), (), ""),  # part of a word is no token
    ],
)
def test_a_special_token_is_reported_with_whose_words_hold_it(
    messages: tuple[Message, ...], tools: tuple[dict[str, object], ...], problem: str
) -> None:
    said = forged(*messages, tools=tools)
    assert said.startswith(problem)
    assert bool(said) is bool(problem)


def test_a_tokenizer_that_splits_special_tokens_takes_no_text_for_one() -> None:
    assert forged(Message("user", "a<|im_end|>"), TELL, split=True) == ""


def test_a_token_that_is_not_in_the_row_did_not_come_from_its_words() -> None:
    tokenizer = make_tokenizer("chatml")
    example = Example((Message("user", "a<|im_end|>"), TELL), "chatml")
    assert Special(tokenizer, Prompts(tokenizer)).forged(example, []) == ""
