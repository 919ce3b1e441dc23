"""replace_api/exports.py, streams.py, turns.py: each export holds the same call, or a named reason why it has none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from framework_plugins.replace_api.exports import LoggedCall, moment, read_calls
from framework_plugins.replace_api.turns import LeftOutError, Reason
from tests.plugins.replace_api import logged
from tests.plugins.replace_api.logged import ANSWER, COMPLETION, EXPORTS, REQUEST


def read(fields: dict[str, Any]) -> LoggedCall:
    [call] = read_calls(fields)
    assert isinstance(call, LoggedCall), call
    return call


def reason(fields: dict[str, Any]) -> Reason:
    [left_out] = read_calls(fields)
    assert isinstance(left_out, Reason)
    return left_out


@pytest.mark.parametrize("export", [name for name in EXPORTS if name != "batch"])
def test_each_export_holds_the_same_call(export: str) -> None:
    [line] = EXPORTS[export]
    call = read(line)
    arguments = {"name": "weather", "arguments": logged.ARGUMENTS}
    assert call.turns == [
        {"role": "system", "content": logged.SYSTEM},
        {"role": "user", "content": logged.ASKED},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": arguments}]},
        {"role": "tool", "content": logged.RESULT, "tool_call_id": "c1"},
    ]
    assert call.answers == [{"role": "assistant", "content": ANSWER}]
    assert call.tools == [logged.TOOL]
    assert (call.model, call.conversation, call.user) == ("big-1", "t1", "u1")
    assert (call.time, call.seconds) == (1790000000, 2)
    assert (call.input_tokens, call.output_tokens) == (60, 9)
    assert call.cached_tokens == (0 if export == "langsmith" else 20)  # its export does not say
    assert call.cost == (0.002 if export in {"litellm", "helicone", "langfuse observation"} else None)


def answered(**change: Any) -> dict[str, Any]:
    return {"request": REQUEST, "response": {**COMPLETION, **change}}


def asked(*turns: dict[str, Any], **change: Any) -> dict[str, Any]:
    return {"request": {"model": "big-1", "messages": [*turns], **change}, "response": COMPLETION}


USER = {"role": "user", "content": "Hi"}
CALLING = {"role": "assistant", "content": None, "tool_calls": [logged.CALL]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (answered(choices=[{**logged.CHOICE, "finish_reason": "length"}]), Reason.cut),
        (answered(choices=[{**logged.CHOICE, "finish_reason": "content_filter"}]), Reason.filtered),
        (answered(choices=[{**logged.CHOICE, "message": {"role": "assistant", "content": " "}}]), Reason.no_answer),
        (answered(error={"message": "overloaded"}), Reason.error),
        ({"request": REQUEST, "response": COMPLETION, "status_code": 429}, Reason.error),
        ({"request": REQUEST, "response": None, "error": None, "choices": []}, Reason.no_answer),
        (asked(USER, CALLING, {"role": "user", "content": "And?"}), Reason.tool_result),
        (asked(USER, CALLING), Reason.asks_nothing),
        (asked(USER, {"role": "tool", "tool_call_id": "c9", "content": "4"}), Reason.tool_result),
        (asked({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}), Reason.media),
        (asked(USER, {**CALLING, "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}), Reason.arguments),
        (asked(USER, tools=[{"type": "web_search"}]), Reason.unknown),
        ({"request": {"input": "Hi", "previous_response_id": "resp_0"}, "response": {"output": []}}, Reason.stored),
        ({"run_type": "chain", "inputs": {}, "outputs": {}}, Reason.not_a_call),
        ({**EXPORTS["litellm"][0], "call_type": "aembedding"}, Reason.not_a_call),
        ({**EXPORTS["litellm"][0], "status": "failure"}, Reason.error),
        ({**EXPORTS["langfuse observation"][0], "level": "ERROR"}, Reason.error),
        ({**EXPORTS["langfuse observation"][0], "type": "SPAN"}, Reason.not_a_call),
        ({**EXPORTS["helicone"][0], "response_status": 500}, Reason.error),
        ({**EXPORTS["langsmith"][0], "error": "timeout"}, Reason.error),
        (answered(choices=7), Reason.unknown),
    ],
)  # fmt: skip
def test_a_call_that_teaches_nothing_is_left_out_with_its_reason(line: dict[str, Any], expected: Reason) -> None:
    assert reason(line) == expected


def test_a_line_of_no_export_is_unknown() -> None:
    with pytest.raises(LeftOutError, match="unknown"):
        [*read_calls({"level": "info", "message": "started"})]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"model": "big-1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


CHUNKS = [
    chunk({"role": "assistant", "content": "Looking"}),
    chunk({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"city": '}}]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}},
]
EVENTS = [
    {"type": "message_start", "message": {"role": "assistant", "model": "big-1", "usage": {"input_tokens": 5}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Looking"}},
    {"type": "content_block_start", "index": 1,
     "content_block": {"type": "tool_use", "id": "c1", "name": "weather", "input": {}}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"city": '}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '"Oslo"}'}},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 7}},
    {"type": "message_stop"},
]  # fmt: skip


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("events", [CHUNKS, EVENTS], ids=["chat", "anthropic"])
def test_a_stream_is_put_together(events: list[dict[str, Any]], *, as_text: bool) -> None:
    text = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n"
    call = read({"request": {"messages": [USER]}, "response": text if as_text else events})
    [answer] = call.answers
    assert answer["content"] == "Looking"
    assert answer["tool_calls"][0]["function"] == {"name": "weather", "arguments": {"city": "Oslo"}}
    assert (call.input_tokens, call.output_tokens) == (5, 7)


@pytest.mark.parametrize("events", [CHUNKS[:3], EVENTS[:-2], [{"type": "response.created"}]])
def test_a_stream_without_an_end_is_broken_off(events: list[dict[str, Any]]) -> None:
    assert reason({"request": {"messages": [USER]}, "response": events}) == Reason.broken


def test_the_responses_stream_ends_with_the_whole_response() -> None:
    events = [{"type": "response.created"}, {"type": "response.completed", "response": logged.RESPONSES_RESPONSE}]
    assert read({"request": {"input": "Hi"}, "response": events}).answers[0]["content"] == ANSWER


def test_items_of_one_response_are_one_turn() -> None:
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Ask the tool."}]},
        {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "weather", "arguments": "{}"},
    ]
    response = {"output": output, "status": "completed"}
    [answer] = read({"request": {"input": "Hi"}, "response": response}).answers
    assert [call["id"] for call in answer["tool_calls"]] == ["a", "b"]
    assert answer["reasoning_content"] == "Ask the tool."


def test_several_choices_are_several_answers() -> None:
    other = {"index": 1, "message": {"role": "assistant", "content": "4 degrees."}, "finish_reason": "stop"}
    answers = read(answered(choices=[logged.CHOICE, other])).answers
    assert [answer["content"] for answer in answers] == [ANSWER, "4 degrees."]


def test_numbered_attributes_of_older_instrumentations_are_read() -> None:
    attributes = {
        "gen_ai.request.model": "big-1", "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Hi",
        "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "",
        "gen_ai.completion.0.tool_calls.0.id": "c1", "gen_ai.completion.0.tool_calls.0.name": "weather",
        "gen_ai.completion.0.tool_calls.0.arguments": "{}", "gen_ai.usage.prompt_tokens": 3,
    }  # fmt: skip
    call = read({"name": "openai.chat", "attributes": attributes, "start_time": logged.START})
    assert call.turns == [{"role": "user", "content": "Hi"}]
    assert call.answers[0]["tool_calls"][0]["function"]["name"] == "weather"
    assert call.input_tokens == 3


@pytest.mark.parametrize("value", [1790000000, 1790000000000, 1790000000000000, "1790000000000000000", logged.START])
def test_times_of_every_unit_are_the_same_moment(value: Any) -> None:
    assert moment(value) == 1790000000


@pytest.mark.parametrize("value", ["yesterday", None, True, []])
def test_what_is_no_time_is_none(value: Any) -> None:
    assert moment(value) is None
