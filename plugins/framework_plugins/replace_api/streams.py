"""A streamed answer that was logged piece by piece, put together as if it had come at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from framework_plugins.replace_api.turns import Fields, LeftOutError, Reason


def assembled(response: Any) -> Any:
    """Return an answer whose events are a list or a text of server-sent events as one response; any other as it is.

    Raises:
        LeftOutError: the stream has no end.
    """
    if isinstance(response, str) and response.lstrip().startswith(("data:", "event:")):
        lines = (line[5:].strip() for line in response.splitlines() if line.startswith("data:"))
        try:
            response = [json.loads(line) for line in lines if line and line != "[DONE]"]
        except ValueError as error:  # it ends within an event
            raise LeftOutError(Reason.broken) from error
    if not isinstance(response, list) or not response or not all(isinstance(event, Mapping) for event in response):
        return response
    kinds = {str(event.get("type", "")) for event in response}
    if any("choices" in event for event in response):
        return _chat(response)
    if "message_start" in kinds:
        return _anthropic(response)
    if any(kind.startswith("response.") for kind in kinds):
        last = response[-1]
        if not isinstance(last.get("response"), Mapping):
            raise LeftOutError(Reason.broken)
        return last["response"]
    return response


def _chat(chunks: list[Fields]) -> Fields:
    choices: dict[int, dict[str, Any]] = {}
    whole: dict[str, Any] = {}
    for chunk in chunks:
        whole |= {name: chunk[name] for name in ("id", "model", "usage", "created") if chunk.get(name)}
        for piece in chunk.get("choices") or ():
            choice = choices.setdefault(piece.get("index", 0), {"message": {"role": "assistant", "content": ""}})
            choice["finish_reason"] = piece.get("finish_reason") or choice.get("finish_reason")
            delta, message = piece.get("delta") or {}, choice["message"]
            message["content"] += delta.get("content") or ""
            for part in delta.get("tool_calls") or ():
                calls = message.setdefault("tool_calls", {})
                function = calls.setdefault(part.get("index", 0), {"id": "", "function": {"name": "", "arguments": ""}})
                function["id"] = part.get("id") or function["id"]
                for name in ("name", "arguments"):
                    function["function"][name] += (part.get("function") or {}).get(name) or ""
    if not choices or not all(choice["finish_reason"] for choice in choices.values()):
        raise LeftOutError(Reason.broken)
    for choice in choices.values():
        if "tool_calls" in choice["message"]:
            choice["message"]["tool_calls"] = [*choice["message"]["tool_calls"].values()]
    return {**whole, "choices": [choices[index] for index in sorted(choices)]}


def _anthropic(events: list[Fields]) -> Fields:
    message: dict[str, Any] = {}
    blocks: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, delta = event.get("type"), event.get("delta") or {}
        if kind == "message_start":
            message = dict(event["message"])
        elif kind == "content_block_start":
            blocks[event["index"]] = {**event["content_block"], "json": ""}
        elif kind == "content_block_delta":
            block = blocks.setdefault(event["index"], {"type": "text", "text": "", "json": ""})
            for name, key in (("text", "text"), ("thinking", "thinking"), ("json", "partial_json")):
                block[name] = block.get(name, "") + delta.get(key, "") if key in delta else block.get(name, "")
        elif kind == "message_delta":
            message |= {name: value for name, value in delta.items() if value is not None}
            message["usage"] = {**(message.get("usage") or {}), **(event.get("usage") or {})}
    if not message.get("stop_reason"):
        raise LeftOutError(Reason.broken)
    for block in blocks.values():
        if text := block.pop("json"):
            block["input"] = text
    return {**message, "content": [blocks[index] for index in sorted(blocks)]}
