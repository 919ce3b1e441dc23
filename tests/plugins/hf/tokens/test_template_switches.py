"""hf/tokens/template_switches.py and the advice of hf/tokens/chat.py, with templates that come with TRL."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from framework.api.records import Example, Message, TokenRow
from framework.api.schema import Learn
from framework_plugins.hf.tokens import chat, template_switches
from framework_plugins.hf.tokens.chat import Chat
from framework_plugins.lib.chat_templates import CHAT_TEMPLATES
from tests.support.conversations import ASK, CALL, DOUBT, NO, TELL, learned
from tests.support.families import make_tokenizer, stop_ids, trl_templates

GLM = """[gMASK]{% for m in messages %}<|{{ m.role }}|>
{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>
{% endif %}"""
OFF = "model.thinking=off"
KEPT = f'{OFF} "model.chat_template_kwargs={{preserve_thinking: true}}"'


def tokenizer_with(name: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of Qwen's form, for which two line breaks are one token, with a chat template of TRL."""
    tokenizer = make_tokenizer("qwen3")
    tokenizer.add_tokens([AddedToken("\n\n", normalized=False)])
    tokenizer.chat_template = trl_templates()[name].read_text("utf-8")
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


def test_the_stop_after_a_call_is_that_of_the_tools_turn(glm: PreTrainedTokenizerFast) -> None:
    glm.chat_template = GLM.replace(
        "{% endfor", "{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% endfor"
    )
    glm.add_special_tokens({"additional_special_tokens": ["[gMASK]", "<|user|>", "<|assistant|>", "<|tool|>"]})
    stops = frozenset(glm.convert_tokens_to_ids(["<|tool|>", "<|user|>"]))
    (row,) = Chat(glm, stops).encode([Example((ASK, CALL), "chatml", "rows.jsonl:7")])
    assert row.problem == ""
    assert learned(glm, row) == ['{"name": "get_weather", "arguments": {"city": "Bern"}}<|tool|>']


def test_the_stop_after_the_last_of_two_answers_is_not_that_of_the_first(glm: PreTrainedTokenizerFast) -> None:
    chat = Chat(glm, frozenset(glm.convert_tokens_to_ids(["<|endoftext|>", "<|user|>"])))
    (row,) = chat.encode([Example((ASK, TELL, NO), "chatml", "rows.jsonl:7")])
    assert row.problem.endswith(": set data.learn=each, with which it is exact")
    assert learned(glm, row) == ["Two, I think.", "No<|user|>"]


def test_settings_are_tried_with_several_rows_of_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "MAX_ROWS_TRIED", 4)
    tokenizer = tokenizer_with("qwen3_6")
    good, bad = Example((ASK, TELL), "chatml"), Example((Message("user", "a <|im_end|>"), TELL), "chatml")

    def advice(*examples: Example) -> str:
        (problem,) = {row.problem for row in Chat(tokenizer, stop_ids("qwen3")).encode(examples)}
        return problem.rpartition(": ")[2]

    assert advice(good) == f"set {OFF}, with which it is exact"
    assert advice(good, good, good) == f"set {OFF}, with which all 3 rows tried are exact"
    assert advice(good, bad, good) == f"set {OFF}, with which 2 of the 3 rows tried are exact"
    assert advice(*[good] * 4, *[bad] * 4) == f"set {OFF}, with which 2 of the 4 rows tried are exact"


def test_settings_that_make_the_most_rows_exact_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Example((ASK, TELL, DOUBT, dataclasses.replace(NO, reasoning_content="Hm.")), "chatml")] * 3

    def solves(_: Chat, way: Any, tried: Sequence[Example]) -> int:
        return len(tried) if way.learn is Learn.last else min(len(tried), 1)

    monkeypatch.setattr(Chat, "_count_solved", solves)
    for row in Chat(make_tokenizer("chatml"), stop_ids("chatml")).encode(rows):
        assert row.problem.endswith(": set data.learn=last, with which all 3 rows tried are exact")


def test_a_template_by_name_that_writes_the_row_is_named() -> None:
    opening = "{% if add_generation_prompt %}### Answer: {% endif %}"
    tokenizer = make_tokenizer("llama3")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}" + opening
    (row,) = Chat(tokenizer, stop_ids("llama3")).encode([Example((ASK, TELL), "chatml")])
    assert row.problem.endswith(
        ", model.chat_template=FILE.jinja, or model.chat_template=llama3, with which it is exact"
    )
    assert tokenizer.chat_template.endswith(opening)
    named = make_tokenizer("llama3")
    named.chat_template = CHAT_TEMPLATES["llama3"].text
    assert Chat(named, stop_ids("llama3")).encode([Example((ASK, TELL), "chatml")])[0].problem == ""


def test_a_template_that_reads_parts_says_so() -> None:
    tokenizer = make_tokenizer("chatml")
    parts = "{% for p in m.content %}{{ p.text }}{% endfor %}"
    tokenizer.chat_template = "{% for m in messages %}" + parts + "<|im_end|>{% endfor %}"
    (row,) = Chat(tokenizer, stop_ids("chatml")).encode([Example((ASK, TELL), "chatml")])
    assert row.problem.startswith(
        "the chat template reads a turn as a list of parts, as those of vision models do, and"
    )


def test_a_row_whose_prompt_was_rendered_in_another_second_is_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        seconds = iter([0, 1, 1, 1, 1])

        @classmethod
        def now(cls) -> datetime:
            return datetime(2026, 1, 1, second=next(cls.seconds, 1))  # noqa: DTZ001 - as transformers has it

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    tokenizer = make_tokenizer("chatml")
    tokenizer.chat_template = "{{ strftime_now('%S') }}" + str(tokenizer.chat_template)
    (row,) = Chat(tokenizer, stop_ids("chatml")).encode([Example((ASK, TELL), "chatml")])
    assert row.problem == ""
    assert str(tokenizer.decode(row.input_ids)).startswith("01")


def test_without_a_stop_in_the_next_turn_the_row_stays_refused(glm: PreTrainedTokenizerFast) -> None:
    chat = Chat(glm, frozenset(glm.convert_tokens_to_ids(["<|endoftext|>"])))
    (row,) = chat.encode([Example((ASK, TELL), "chatml", "rows.jsonl:7")])
    assert "ends an assistant's turn without a stop token" in row.problem
    assert chat.appended == ""


def test_a_template_that_writes_the_stop_gets_none() -> None:
    tokenizer = make_tokenizer("chatml")
    assert Chat(tokenizer, stop_ids("chatml")).appended == ""
