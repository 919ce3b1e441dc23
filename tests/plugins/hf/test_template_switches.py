"""hf/template_switches.py and the advice of hf/chat.py, with templates that come with TRL."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from framework.api.records import Example, Message, TokenRow
from framework.api.schema import Learn
from framework_plugins.hf import template_switches
from framework_plugins.hf.chat import Chat
from tests.support.conversations import ASK, DOUBT, NO, TELL, learned
from tests.support.families import make_tokenizer, stop_ids

GLM = """[gMASK]{% for m in messages %}<|{{ m.role }}|>
{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
OFF = "model.thinking=off"
KEPT = f'{OFF} "model.chat_template_kwargs={{preserve_thinking: true}}"'


def tokenizer_with(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of Qwen's form, for which two line breaks are one token, with a chat template of TRL."""
    spec = importlib.util.find_spec("trl")
    assert spec is not None
    assert spec.origin is not None
    tokenizer = make_tokenizer("qwen3")
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    tokenizer.chat_template = (Path(spec.origin).parent / "chat_templates" / f"{name}.jinja").read_text("utf-8")
    return tokenizer


def row_of(
    tokenizer: PreTrainedTokenizerFast, *messages: Message, learn: Learn = Learn.assistant, **settings: bool
) -> TokenRow:
    chat = Chat(tokenizer, stop_ids("qwen3"), settings, learn=learn)
    return chat.encode([Example(messages, "chatml", "rows.jsonl:7")])[0]


def test_the_switch_that_makes_a_row_exact_is_named_and_does() -> None:
    tokenizer = tokenizer_with("qwen3_6")
    refused = row_of(tokenizer, ASK, TELL)
    assert refused.problem.endswith(f": set {OFF}, with which it is exact")
    assert "take another chat template" not in refused.problem
    exact = row_of(tokenizer, ASK, TELL, enable_thinking=False)
    assert exact.problem == ""
    assert learned(tokenizer, exact) == ["Two, I think.<|im_end|>"]


def test_two_switches_are_named_where_one_is_not_enough() -> None:
    tokenizer = tokenizer_with("qwen3_6")
    refused = row_of(tokenizer, ASK, TELL, DOUBT, NO)
    assert refused.problem.endswith(f": set {KEPT}, with which it is exact")
    assert row_of(tokenizer, ASK, TELL, DOUBT, NO, enable_thinking=False, preserve_thinking=True).problem == ""


def test_a_switch_goes_with_the_last_answer_alone_where_no_other_helps() -> None:
    tokenizer = tokenizer_with("qwen3_5_think")
    refused = row_of(tokenizer, ASK, TELL, DOUBT, NO)
    assert refused.problem.endswith(": set data.learn=each model.thinking=off, with which it is exact")
    assert row_of(tokenizer, ASK, TELL, DOUBT, NO, learn=Learn.last, enable_thinking=False).problem == ""


def test_no_switch_is_named_where_none_helps_or_none_is_needed() -> None:
    row = row_of(make_tokenizer("qwen3"), ASK, TELL, DOUBT, NO)
    assert row.problem.endswith(": set data.learn=each, with which it is exact")
    assert "chat_template_kwargs" not in row_of(tokenizer_with("deepseek_r1_distill"), ASK, TELL).problem


def test_names_are_those_that_nobody_gives() -> None:
    assert template_switches.names(tokenizer_with("qwen3_6"))[0] == "enable_thinking"
    assert template_switches.names(make_tokenizer("chatml")) == []
    broken = make_tokenizer("chatml")
    broken.chat_template = "{% if %}"
    assert template_switches.names(broken) == []


@pytest.fixture
def glm() -> PreTrainedTokenizerFast:
    """Return a tokenizer whose template ends no answer: the next turn's opening does."""
    tokenizer = make_tokenizer("qwen3")
    tokenizer.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<|user|>", "<|assistant|>"]})
    tokenizer.chat_template = GLM
    return tokenizer


def test_a_last_answer_without_a_stop_gets_the_one_that_generation_would_produce(glm: PreTrainedTokenizerFast) -> None:
    chat = Chat(glm, frozenset(glm.convert_tokens_to_ids(["<|endoftext|>", "<|user|>"])))
    (row,) = chat.encode([Example((ASK, TELL, DOUBT, NO), "chatml", "rows.jsonl:7")])
    assert row.problem == ""
    assert learned(glm, row) == ["Two, I think.<|user|>", "No<|user|>"]
    assert glm.decode(row.input_ids).endswith("No<|user|>")
    assert chat.appended == "<|user|>"


def test_without_a_stop_in_the_next_turn_the_row_stays_refused(glm: PreTrainedTokenizerFast) -> None:
    chat = Chat(glm, frozenset(glm.convert_tokens_to_ids(["<|endoftext|>"])))
    (row,) = chat.encode([Example((ASK, TELL), "chatml", "rows.jsonl:7")])
    assert "ends an assistant's turn without a stop token" in row.problem
    assert chat.appended == ""


def test_a_template_that_writes_the_stop_gets_none() -> None:
    tokenizer = make_tokenizer("chatml")
    assert Chat(tokenizer, stop_ids("chatml")).appended == ""
