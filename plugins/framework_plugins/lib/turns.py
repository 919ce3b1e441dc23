"""Messages in the shape that chat templates read, which is that of OpenAI's API but for the arguments of calls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from framework.api import Message, ToolCall


def as_turns(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Return messages in the shape that chat templates read; fields that a message does not have are left out."""
    return [_turn(message) for message in messages]


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [_call(call) for call in message.tool_calls]
    for name in ("name", "tool_call_id", "reasoning_content"):
        if value := getattr(message, name):
            turn[name] = value
    return turn


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": dict(call.arguments)}
    return {**({"id": call.id} if call.id else {}), "type": "function", "function": function}
