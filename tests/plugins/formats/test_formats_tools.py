"""Tool calls and tool schemas: every spelling gives the same calls, and anything else is reported."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework import FrameworkError
from framework.api.records import Message, ToolCall
from framework.api.schema import FormatConfig
from framework_plugins.formats.formats import Alpaca, Auto, ChatML, PromptCompletion, ShareGPT
from tests.support.writings import learned_by

CONFIG = FormatConfig()
NAME = st.text(min_size=1, max_size=8)
VALUE = st.text() | st.integers() | st.booleans() | st.lists(st.text(), max_size=2)
ARGUMENTS = st.dictionaries(st.text(), VALUE | st.dictionaries(st.text(), VALUE, max_size=2), max_size=3)
CALLS = st.lists(st.tuples(NAME, ARGUMENTS), min_size=1, max_size=3)
SCHEMA = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
ASKED = {"role": "user", "content": "say"}

Fields = dict[str, Any]


def calling(turn: Fields) -> Fields:
    return {"messages": [ASKED, {"role": "assistant", **turn}]}


@given(calls=CALLS, result=st.text(), answer=st.text())
def test_calls_are_the_same_in_every_spelling(
    calls: list[tuple[str, dict[str, Any]]], result: str, answer: str
) -> None:
    plain = [{"name": name, "arguments": arguments} for name, arguments in calls]
    texts = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    wrapped = [{"type": "function", "function": call} for call in texts]
    schemas = [SCHEMA]
    described = [{"type": "function", "function": SCHEMA}]
    expected = (
        Message("user", "say"),
        Message("assistant", "", tuple(ToolCall(name, arguments) for name, arguments in calls)),
        Message("tool", result),
        Message("assistant", answer),
    )
    written: list[tuple[str, Fields]] = []
    end = [{"role": "tool", "content": result}, {"role": "assistant", "content": answer}]
    for content in ({"content": None}, {"content": ""}, {}):
        for listed in (plain, texts, wrapped, json.dumps(plain)):
            turns = [ASKED, {"role": "assistant", "tool_calls": listed, **content}, *end]
            written.append(("chatml", {"messages": turns, "tools": described}))
            written.append(("prompt_completion", {"prompt": turns[:-1], "completion": turns[-1:], "tools": described}))
    for value in (json.dumps(plain), json.dumps(texts), *([json.dumps(plain[0])] if len(plain) == 1 else [])):
        turns = [
            {"from": "human", "value": "say"},
            {"from": "function_call", "value": value},
            {"from": "observation", "value": result},
            {"from": "gpt", "value": answer},
        ]
        written.append(("sharegpt", {"conversations": turns, "tools": json.dumps(schemas)}))
    auto = Auto(CONFIG)
    for kind, fields in written:
        example = auto.example(fields)
        assert (example.format, example.messages, example.tools) == (
            kind,
            tuple(learned_by(kind, expected)),
            tuple(described),
        )


def test_the_older_spelling_of_openai_is_read_too() -> None:
    row = {
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "weather", "arguments": '{"city": "Lima"}'},
            },
            {"role": "function", "name": "weather", "content": "20"},
            {"role": "assistant", "content": "20 degrees"},
        ],
        "functions": [SCHEMA],
    }
    example = ChatML(CONFIG).example(row)
    assert example.messages[1:3] == (
        Message("assistant", "", (ToolCall("weather", {"city": "Lima"}),)),
        Message("tool", "20", name="weather"),
    )
    assert example.tools == ({"type": "function", "function": SCHEMA},)


def test_ids_and_names_of_calls_and_their_results_are_kept() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    turns = [ASKED, {"role": "assistant", "content": "Let me see.", "tool_calls": [call]}]
    result = {"role": "tool", "content": "20", "tool_call_id": "c1", "name": None}
    example = ChatML(CONFIG).example({"messages": [*turns, result]})
    assert example.messages[1:] == (
        Message("assistant", "Let me see.", (ToolCall("weather", {}, "c1"),)),
        Message("tool", "20", tool_call_id="c1"),
    )


@pytest.mark.parametrize("value", [None, "", {}])
def test_no_arguments_are_an_empty_object(value: Any) -> None:
    example = ChatML(CONFIG).example(calling({"tool_calls": [{"name": "f", "arguments": value}]}))
    assert example.messages[1].tool_calls == (ToolCall("f", {}),)


def test_null_of_a_column_is_left_out_of_objects_and_kept_in_json_text() -> None:
    given = {"city": "Lima", "day": None, "at": [{"hour": 1, "minute": None}, None]}
    schema = {**SCHEMA, "strict": None}

    def read(arguments: Any, tools: Any) -> tuple[Any, Any]:
        example = ChatML(CONFIG).example(
            {**calling({"tool_calls": [{"name": "f", "arguments": arguments}]}), "tools": tools}
        )
        return example.messages[1].tool_calls[0].arguments, example.tools[0]["function"]

    assert read(given, [schema]) == ({"city": "Lima", "at": [{"hour": 1}, None]}, SCHEMA)
    assert read(json.dumps(given), json.dumps([schema])) == (given, schema)
    called = json.dumps({"name": "f", "arguments": given})
    spoken = ShareGPT(CONFIG).example({"conversations": [{"from": "function_call", "value": called}]})
    texts = ChatML(CONFIG).example(calling({"tool_calls": f"[{called}]"}))
    for message in (spoken.messages[0], texts.messages[1]):
        assert message.tool_calls == (ToolCall("f", given),)


@pytest.mark.parametrize("tools", [None, "", []])
def test_no_tools_are_no_tools(tools: Any) -> None:
    assert Alpaca(CONFIG).example({"instruction": "a", "output": "b", "tools": tools}).tools == ()


@pytest.mark.parametrize("tools", [[SCHEMA], json.dumps([SCHEMA]), [json.dumps(SCHEMA)]])
@pytest.mark.parametrize(
    ("formatter", "fields"),
    [
        (Alpaca, {"instruction": "say", "output": "it"}),
        (PromptCompletion, {"prompt": "say", "completion": "it"}),
        (ShareGPT, {"conversations": [{"from": "human", "value": "say"}]}),
    ],
)
def test_tools_beside_a_row_of_any_format_are_read(formatter: type[Any], fields: Fields, tools: Any) -> None:
    assert formatter(CONFIG).example({**fields, "tools": tools}).tools == ({"type": "function", "function": SCHEMA},)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            calling({"tool_calls": "weather"}),
            "(turn 2 of 'messages') needs JSON in 'tool_calls': Expecting value at column 1",
        ),
        (calling({"tool_calls": 3}), "or a list of calls in 'tool_calls', found a number"),
        (calling({"tool_calls": ["weather"]}), "or a list of calls in 'tool_calls', found a list"),
        (calling({"tool_calls": [{"function": None, "id": "x"}]}), "needs the field 'name'; the call has function, id"),
        (
            calling({"tool_calls": [{"name": "", "arguments": {}}]}),
            "the name of a function in 'name', found empty text",
        ),
        (
            calling({"tool_calls": [{"name": "f", "args": {}}]}),
            "needs the field 'arguments'; the call of f has name, args",
        ),
        (
            calling({"tool_calls": [{"name": "f", "arguments": "{'a': 1}"}]}),
            "needs JSON in 'arguments': Expecting property",
        ),
        (calling({"tool_calls": [{"name": "f", "arguments": "[1]"}]}), "in 'arguments', found a list"),
        (calling({"tool_calls": [{"name": "f", "arguments": 3}]}), "in 'arguments', found a number"),
        (calling({"tool_calls": [{"name": "f", "arguments": "[" * 100_000}]}), "needs JSON in 'arguments'"),
        ({**calling({"content": "a"}), "tools": "weather"}, "format chatml needs JSON in 'tools': Expecting value"),
        (
            {**calling({"content": "a"}), "tools": {"name": "f"}},
            "format chatml needs a list of tool schemas, or one as JSON",
        ),
        (
            {**calling({"content": "a"}), "tools": [{"description": "f"}]},
            "needs tool schemas with a name in 'tools', found an",
        ),
        ({**calling({"content": "a"}), "tools": [3]}, "needs tool schemas with a name in 'tools', found a number"),
        (
            {"conversations": [{"from": "function_call", "value": "weather()"}]},
            "(turn 1 of 'conversations') needs JSON in 'v",
        ),
        (
            {"conversations": [{"from": "function_call", "value": "[]"}]},
            "a list of calls in 'value', found an empty list",
        ),
        ({"conversations": [{"from": "function_call", "value": None}]}, "a list of calls in 'value', found null"),
    ],
)
def test_what_is_no_call_and_no_schema_is_reported(fields: Fields, text: str) -> None:
    formatter = ChatML(CONFIG) if "messages" in fields else ShareGPT(CONFIG)
    with pytest.raises(FrameworkError) as caught:
        formatter.example(fields)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
