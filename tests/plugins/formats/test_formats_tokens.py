"""What means the same in two formats gives the same token ids and labels, with real tokenizers and chat templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.records import Message, Row, TokenRow
from framework.api.schema import FormatConfig
from framework.data.rows import to_examples
from framework_plugins.formats.formats import Auto
from tests.support.examples import examples
from tests.support.tiny import tiny_chatml, tiny_llama
from tests.support.writings import Fields, conversations, written

EDGES = st.sampled_from(["\n", " ", "  two  ", "a\n\nb", "Ärger 👩‍👧 中文", "<|im_end|>", "It is 3.", "\ta\u2028b"])
TEXT = st.text(min_size=1, max_size=20) | EDGES
PLAIN = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=[tiny_chatml, tiny_llama], ids=["chatml", "llama"])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what a model's tokenizer makes of conversations."""
    from transformers import AutoTokenizer, GenerationConfig

    from framework_plugins.hf.tokens.chat import Chat

    make: Callable[[Path], Path] = request.param
    folder = make(tmp_path_factory.mktemp("base"))
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    stops = frozenset(ends if isinstance(ends, list) else [ends])
    return Chat(AutoTokenizer.from_pretrained(folder), stops)


def token_rows(chat: Any, rows: list[Fields]) -> list[TokenRow]:
    examples = to_examples([Row(json.loads(json.dumps(fields)), "") for fields in rows], Auto(FormatConfig()))
    found: list[TokenRow] = chat.encode(examples)
    assert len(found) == len(rows)
    return found


@settings(max_examples=examples(40))
@given(messages=conversations(TEXT))
def test_every_writing_of_a_conversation_gives_the_same_ids_and_labels(chat: Any, messages: list[Message]) -> None:
    kinds, rows = zip(*written(messages), strict=True)
    first, *others = found = token_rows(chat, list(rows))
    assert first.input_ids
    assert all(row.input_ids == first.input_ids for row in others)
    for kind, row in zip(kinds, found, strict=True):
        if kind != "prompt_completion":
            assert row == first
        elif first.problem:  # perhaps of an earlier answer, which is not learned here
            continue
        else:  # the completion alone
            assert row.problem == ""
            last = max(number for number, label in enumerate(first.labels) if label != -100)
            begin = row.labels.index(next(label for label in row.labels if label != -100))
            assert row.labels[begin:] == first.labels[begin:]
            assert -100 not in row.labels[begin : last + 1]


@settings(max_examples=examples(40))
@given(messages=conversations(PLAIN))
def test_every_writing_of_plain_words_is_proven_and_learned(chat: Any, messages: list[Message]) -> None:
    first, *others = token_rows(chat, [fields for kind, fields in written(messages) if kind != "prompt_completion"])
    assert all(row == first for row in others)
    assert first.problem == ""
    learned = [token for token in first.labels if token != -100]
    answers = [message.content for message in messages if message.role == "assistant"]
    text = chat.tokenizer.decode(learned)
    assert [answer in text for answer in answers] == [True] * len(answers)
    assert sum(token in chat.stop_ids for token in learned) == len(answers)
    questions = [message.content for message in messages if message.role != "assistant"]
    assert chat.tokenizer.decode(first.input_ids).count(questions[-1]) >= 1


@pytest.mark.parametrize("arguments", [{}, {"city": "Bern", "days": [1, 2], "é": {"a": None}}])
def test_calls_of_openai_and_of_sharegpt_give_the_same_ids_and_labels(arguments: dict[str, Any]) -> None:
    from framework_plugins.hf.tokens.chat import Chat
    from tests.support.families import family_tokenizer, stop_ids

    schema = {"name": "get_weather", "parameters": {"type": "object"}}
    call = {"name": "get_weather", "arguments": json.dumps(arguments)}
    openai = [
        {"role": "user", "content": "What is the weather in Bern?"},
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": call}]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    sharegpt = [
        {"from": "human", "value": "What is the weather in Bern?"},
        {"from": "function_call", "value": json.dumps({"name": "get_weather", "arguments": arguments})},
        {"from": "observation", "value": "sunny"},
        {"from": "gpt", "value": "It is sunny."},
    ]
    chat = Chat(family_tokenizer("qwen3"), stop_ids("qwen3"))
    one, other = token_rows(
        chat,
        [
            {"messages": openai, "tools": [{"type": "function", "function": schema}]},
            {"conversations": sharegpt, "tools": json.dumps([schema])},
        ],
    )
    assert one == other
    assert "get_weather" in chat.tokenizer.decode(one.input_ids)
