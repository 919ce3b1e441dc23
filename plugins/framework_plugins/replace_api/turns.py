"""Turns in any of the dialects of logs, as turns of chat completions: `role`, `content`, `tool_calls`, `tool_call_id`.

The dialects: chat completions, items of the Responses API, blocks of Anthropic's messages, parts of OpenTelemetry, and
messages that LangChain serialized.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any

Fields = Mapping[str, Any]
Turn = dict[str, Any]

ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "developer": "system", "function": "tool",
    "humanmessage": "user", "aimessage": "assistant", "systemmessage": "system", "toolmessage": "tool",
}  # fmt: skip
"""Roles that have another name in chat completions; LangChain gives the name of a class."""
TEXTS = {"text", "input_text", "output_text", "refusal"}
CALLS = {"tool_use", "tool_call", "function_call"}
RESULTS = {"tool_result", "tool_call_response", "function_call_output"}
THOUGHTS = {"thinking", "reasoning", "redacted_thinking"}
MEDIA = ("image", "audio", "video", "file", "document", "blob", "uri", "input_image", "input_audio", "input_file")


class Reason(StrEnum):
    """Why a logged call becomes no row."""

    error = "the API answered with an error"
    cut = "the answer was cut at the limit of tokens"
    filtered = "a filter or a refusal ended the answer"
    broken = "the stream broke off"
    no_answer = "no answer"
    no_request = "an answer without a request"
    asks_nothing = "the request does not end with a user or a tool"
    tool_result = "a tool was called, and its result is missing"
    arguments = "the arguments of a call are not JSON"
    media = "it has an image, a sound or a file"
    stored = "it refers to turns that the server stored"
    not_a_call = "it is not a call of a chat model"
    unknown = "its shape is unknown"
    unreadable = "the line cannot be read"
    other_model = "another model answered"
    private = "it has secrets or addresses that data.remove names"


class LeftOutError(Exception):
    """A logged call that becomes no row."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def decoded(value: Any) -> Any:
    """Return what a text holds as JSON if it is an object or a list, any other value as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def read_turns(value: Any) -> list[Turn]:
    """Return the turns of a request or of an answer; a text alone is the user's.

    Raises:
        LeftOutError: something in it cannot be learned.
    """
    value = decoded(value)
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    listed = [value] if isinstance(value, Mapping) else value
    if not isinstance(listed, list) or not listed:
        raise LeftOutError(Reason.unknown)
    if isinstance(listed[0], list):  # LangChain logs a batch of conversations; a call has one
        listed = listed[0]
    turns: list[Turn] = []
    for item in listed:
        if not isinstance(item, Mapping):
            raise LeftOutError(Reason.unknown)
        for turn in _turns_of(item):
            last = turns[-1] if turns else {}
            # The Responses API has an item for each call and each thought of one answer.
            if turn["role"] == last.get("role") == "assistant" and (last["calls_only"] or turn["calls_only"]):
                _join(last, turn)
            else:
                turns.append(turn)
    return [_plain(turn) for turn in turns]


def _turns_of(item: Fields) -> Iterator[Turn]:
    """Give the turns of an item: one of Anthropic holds the results of several tools, which are turns of their own."""
    inner = item.get("kwargs") or item.get("data")
    if isinstance(inner, Mapping):  # LangChain
        path = item.get("id")
        kind = inner.get("type") or (path[-1] if isinstance(path, list) and path else item.get("type", ""))
        item = {**inner, "role": str(kind).removesuffix("Chunk")}
    kind = str(item.get("type", ""))
    if kind == "item_reference":
        raise LeftOutError(Reason.stored)
    if "role" not in item and kind in CALLS | RESULTS | THOUGHTS:
        item = {"role": "user" if kind in RESULTS else "assistant", "content": [item]}
    role = str(item.get("role") or (kind if kind.lower() in ROLES else "")).lower()
    role = ROLES.get(role, role)
    if role not in {"system", "user", "assistant", "tool"}:
        raise LeftOutError(Reason.unknown)
    content = item.get("content", item.get("parts"))
    text, calls, thoughts, results = (
        "",
        [*map(_call, _listed_calls(item))],
        str(item.get("reasoning_content") or ""),
        [],
    )
    for part in [content] if isinstance(content, str | Mapping) else content or ():
        kind = str(part.get("type", "text")) if isinstance(part, Mapping) else "text"
        if isinstance(part, str):
            text += part
        elif kind in TEXTS:
            text += str(part.get("text") or part.get("content") or part.get("refusal") or "")
        elif kind in CALLS:
            calls += [] if any(call["id"] == part.get("id") for call in calls) else [_call(part)]
        elif kind in RESULTS:
            results.append(_result(part))
        elif kind in THOUGHTS:
            thoughts += _thought(part)
        elif kind.startswith(MEDIA):
            raise LeftOutError(Reason.media)
        else:
            raise LeftOutError(Reason.unknown)
    yield from results
    if role == "tool" and not results:
        yield {"role": role, "content": text, "tool_call_id": str(item.get("tool_call_id") or ""), "calls_only": False}
    elif text or calls or thoughts or not results:
        yield {
            "role": role, "content": text, "tool_calls": calls, "reasoning_content": thoughts,
            "calls_only": bool(calls or thoughts) and not text,
        }  # fmt: skip


def _listed_calls(item: Fields) -> Iterable[Fields]:
    extra = item.get("additional_kwargs")
    listed = item.get("tool_calls") or (extra.get("tool_calls") if isinstance(extra, Mapping) else None) or ()
    return [*listed, *([item["function_call"]] if isinstance(item.get("function_call"), Mapping) else ())]


def _call(call: Fields) -> Turn:
    function = _function(call)
    arguments: Any = next((function[name] for name in ("arguments", "args", "input") if function.get(name)), {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            raise LeftOutError(Reason.arguments) from error
    if not isinstance(arguments, Mapping) or not function.get("name"):
        raise LeftOutError(Reason.arguments)
    call_id = str(call.get("call_id") or call.get("id") or "")
    return {"id": call_id, "type": "function", "function": {"name": function["name"], "arguments": dict(arguments)}}


def _result(part: Fields) -> Turn:
    value = next((part[name] for name in ("content", "output", "response", "result") if part.get(name) is not None), "")
    if isinstance(value, list) and all(isinstance(item, Mapping) and item.get("type") in TEXTS for item in value):
        value = "".join(str(item.get("text", "")) for item in value)
    call_id = next((part[name] for name in ("tool_use_id", "call_id", "id") if part.get(name)), "")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return {"role": "tool", "content": text, "tool_call_id": str(call_id), "calls_only": False}


def _thought(part: Fields) -> str:
    summary = part.get("summary")
    if isinstance(summary, list):
        return "\n".join(str(item.get("text", "")) for item in summary if isinstance(item, Mapping))
    return str(part.get("thinking") or part.get("content") or "")


def _join(last: Turn, turn: Turn) -> None:
    last["calls_only"] = last["calls_only"] and turn["calls_only"]
    for name in ("content", "tool_calls", "reasoning_content"):
        last[name] = last[name] + turn[name]


def _plain(turn: Turn) -> Turn:
    return {
        name: value for name, value in turn.items() if name in {"role", "content"} or (value and name != "calls_only")
    }


def check_request(turns: list[Turn]) -> None:
    """Check that a request asks something, and that each call in it has its result.

    Raises:
        LeftOutError: it does not.
    """
    if not turns or turns[-1]["role"] not in {"user", "tool"}:
        raise LeftOutError(Reason.asks_nothing)
    waiting: list[str] = []
    for turn in turns:
        if turn["role"] == "tool":
            call_id = turn.get("tool_call_id", "")
            if not waiting or (call_id and call_id not in waiting and all(waiting)):
                raise LeftOutError(Reason.tool_result)
            waiting.remove(call_id if call_id in waiting else waiting[0])
        elif waiting:
            raise LeftOutError(Reason.tool_result)
        waiting += [call["id"] for call in turn.get("tool_calls", ())]
    if waiting:
        raise LeftOutError(Reason.tool_result)


def read_tools(value: Any) -> list[Turn]:
    """Return the schemas of tools, those of Anthropic, of the Responses API and of LangChain as chat completions'."""
    tools = []
    for tool in decoded(value) or ():
        schema = _function(tool)
        if not isinstance(schema, Mapping) or not schema.get("name"):
            raise LeftOutError(Reason.unknown)  # a tool that runs on the server, such as a search
        parameters = schema.get("parameters") or schema.get("input_schema") or {"type": "object", "properties": {}}
        function = {"name": schema["name"], "description": schema.get("description") or "", "parameters": parameters}
        tools.append({"type": "function", "function": function})
    return tools


def _function(value: Any) -> Any:
    """Return what a call or a schema of chat completions wraps; any other as it is."""
    inner = value.get("function") if isinstance(value, Mapping) else None
    return inner if isinstance(inner, Mapping) else value
