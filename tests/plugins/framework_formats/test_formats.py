"""What means the same in two formats gives the same conversation."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.records import Message
from framework.schema import FormatConfig
from framework_formats.formats import Alpaca, Auto, ChatML, PromptCompletion, ShareGPT

CONFIG = FormatConfig()
TEXT = st.text(min_size=1)
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}

Fields = dict[str, Any]


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    """Draw a system turn or none, then one to four exchanges."""
    messages = [Message("system", draw(TEXT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        messages += [Message("user", draw(TEXT)), Message("assistant", draw(TEXT))]
    return messages


def turns(messages: Sequence[Message]) -> list[Fields]:
    return [{"role": message.role, "content": message.content} for message in messages]


def writings(messages: Sequence[Message]) -> dict[str, list[Fields]]:
    """Write a conversation in every way that each format knows."""
    sharegpt = [{"from": SHAREGPT[message.role], "value": message.content} for message in messages]
    found: dict[str, list[Fields]] = {
        "chatml": [{"messages": turns(messages)}, {"conversations": turns(messages)}],
        "sharegpt": [{"conversations": sharegpt}, {"conversation": sharegpt}],
        "prompt_completion": [{"prompt": turns(messages[:-1]), "completion": turns(messages[-1:])}],
    }
    system = {"system": messages[0].content} if messages[0].role == "system" else {}
    if system:
        found["sharegpt"].append({"conversations": sharegpt[1:], **system})
    rest = messages[len(system) :]
    if len(rest) == 2:
        asked, answer = (message.content for message in rest)
        found["alpaca"] = [
            {"instruction": asked, "output": answer, **system},
            {"instruction": asked, "input": "", "output": answer, **system},
        ]
        if not system:
            found["prompt_completion"].append({"prompt": asked, "completion": answer})
    return found


@given(conversations())
def test_one_conversation_gives_the_same_messages_in_every_format(messages: list[Message]) -> None:
    auto = Auto(CONFIG)
    for kind, rows in writings(messages).items():
        for fields in rows:
            read = json.loads(json.dumps(fields))
            example = auto.formats[kind].example(read)
            assert list(example.messages) == messages
            assert example.format == kind
            assert auto.recognise(read) == kind
            assert auto.matches(read)
            assert auto.example(read) == example


@given(instruction=TEXT, text=TEXT, output=TEXT)
def test_an_alpaca_input_follows_the_instruction_after_an_empty_line(instruction: str, text: str, output: str) -> None:
    example = Alpaca(CONFIG).example({"instruction": instruction, "input": text, "output": output})
    assert example.messages == (Message("user", f"{instruction}\n\n{text}"), Message("assistant", output))


@pytest.mark.parametrize(
    ("name", "role"), [("bard", "assistant"), ("chatgpt", "assistant"), ("observation", "tool"), ("user", "user")]
)
def test_sharegpt_roles_of_the_field_are_translated(name: str, role: str) -> None:
    example = ShareGPT(CONFIG).example({"conversations": [{"from": name, "value": "hi"}]})
    assert example.messages == (Message(role, "hi"),)


def test_a_system_turn_wins_over_a_system_field() -> None:
    turn = {"from": "system", "value": "turn"}
    example = ShareGPT(CONFIG).example({"conversations": [turn], "system": "field"})
    assert example.messages == (Message("system", "turn"),)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"question": "?", "answer": "!"}, "no format fits a row with the fields question, answer: set format=alpaca|"),
        ({}, "no format fits a row with the fields (none): set format=alpaca|chatml|prompt_completion|sharegpt"),
        ({"messages": []}, "no format fits a row with the fields messages: "),
        ({"messages": [{"role": "user"}]}, "no format fits"),
        (
            {"instruction": "a", "output": "b", "prompt": "c", "completion": "d"},
            "several formats fit (alpaca, prompt_completion) a row with the fields instruction, output, prompt, comp",
        ),
    ],
)
def test_a_row_that_fits_none_or_several_formats_is_refused_with_its_fields(fields: Fields, text: str) -> None:
    auto = Auto(CONFIG)
    assert not auto.matches(fields)
    with pytest.raises(FrameworkError) as caught:
        auto.example(fields)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("formatter", "fields", "text"),
    [
        (Alpaca, {"instruction": "a"}, "format alpaca needs the field 'output'; the row has instruction"),
        (Alpaca, {}, "format alpaca needs the field 'instruction'; the row has no fields"),
        (Alpaca, {"instruction": 1, "output": "b"}, "format alpaca needs text in 'instruction', found int"),
        (
            Alpaca,
            {"instruction": "a", "input": ["b"], "output": "c"},
            "format alpaca needs text in 'input', found list",
        ),
        (Alpaca, {"instruction": "a", "output": None}, "format alpaca needs text in 'output', found NoneType"),
        (ChatML, {"text": "a"}, "format chatml needs the field 'messages'; the row has text"),
        (ChatML, {"messages": "a"}, "format chatml needs a list of turns in 'messages'"),
        (ChatML, {"messages": []}, "format chatml needs a list of turns in 'messages'"),
        (ChatML, {"messages": ["a"]}, "format chatml needs a list of turns in 'messages'"),
        (ChatML, {"messages": [{"role": "user"}]}, "format chatml needs the field 'content'; the row has role"),
        (
            ChatML,
            {"messages": [{"role": "human", "content": "a"}]},
            "format chatml knows no role 'human'; valid: system, user, assistant, tool",
        ),
        (ChatML, {"messages": [{"content": "a"}]}, "format chatml knows no role None"),
        (ChatML, {"messages": [{"role": ["user"], "content": "a"}]}, "format chatml knows no role ['user']"),
        (ShareGPT, {"messages": []}, "format sharegpt needs the field 'conversations'; the row has messages"),
        (ShareGPT, {"conversations": {}}, "format sharegpt needs a list of turns in 'conversations'"),
        (
            ShareGPT,
            {"conversations": [{"from": "robot", "value": "a"}]},
            "format sharegpt knows no role 'robot'; valid: human, user, gpt",
        ),
        (
            PromptCompletion,
            {"prompt": "a"},
            "format prompt_completion needs the field 'completion'; the row has prompt",
        ),
        (
            PromptCompletion,
            {"prompt": [{"role": "robot", "content": "a"}], "completion": "b"},
            "knows no role 'robot'",
        ),
        (PromptCompletion, {"prompt": [], "completion": "b"}, "needs text in 'prompt', found list"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_with_the_field_and_the_format(
    formatter: type[Any], fields: Fields, text: str
) -> None:
    with pytest.raises(FrameworkError) as caught:
        formatter(CONFIG).example(fields)
    assert text in str(caught.value)
