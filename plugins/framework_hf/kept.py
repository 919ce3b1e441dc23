"""Whether a chat template keeps what stands in a conversation: some drop system prompts, thoughts or tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from framework.records import Example, Message

THOUGHT_END = "</think>"
OTHER = "take another chat template, model.chat_template=FILE.jinja"


def answer_end(message: Message, text: str, start: int, stop: int) -> tuple[int, str]:
    """Find where what an assistant's turn says ends in `text[start:stop]`, in characters.

    Returns:
        The end, and a problem where a part of the turn is missing; then the end is that of what was found.
    """
    end = start
    for part, what in _said(message, text[start:stop]):
        position = text.find(part, end, stop)
        if position < 0:
            return end, f"the chat template drops or changes {what}: {OTHER}"
        end = position + len(part)
    return _calls_end(message, text, start, stop, end)


def _said(message: Message, region: str) -> Iterator[tuple[str, str]]:
    """Give the parts of a turn in their order; a thought within the answer counts apart where it was moved."""
    if thought := message.reasoning_content.strip():
        yield thought, "the assistant's thoughts (reasoning_content)"
    said = message.content.strip()
    if said and THOUGHT_END in said and said not in region:
        thought, said = (part.strip() for part in said.rsplit(THOUGHT_END, 1))
        yield thought.removeprefix("<think>").strip(), "the assistant's thoughts (before </think>)"
    if said:
        yield said, "an assistant's turn"


def _calls_end(message: Message, text: str, start: int, stop: int, end: int) -> tuple[int, str]:
    for call in message.tool_calls:
        for name in (call.name, *call.arguments):
            found = _end_of(name, text, start, stop)
            if found < 0:
                return end, f"the chat template drops or changes an assistant's tool call: {OTHER}"
            end = max(end, found)
        for value in _strings(call.arguments):  # a stop token within an argument does not end the turn
            end = max(end, _end_of(value, text, start, stop))
    return end, ""


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _strings(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _strings(part)


def _end_of(part: str, text: str, start: int, stop: int | None = None, *, as_json: bool = True) -> int:
    """Return where `part` ends in `text`, -1 where it is missing; it may be written as JSON writes it."""
    position = text.find(part, start, stop)
    if position < 0 and as_json:
        part = json.dumps(part, ensure_ascii=False)[1:-1]
        position = text.find(part, start, stop)
    return position + len(part) if position >= 0 else -1


def lost(example: Example, text: str) -> str:
    """Say which turn does not stand in the rendered text, in its order; empty where all do.

    A system prompt may stand anywhere, since some templates move it. Of an earlier answer its thought may be missing:
    where such a turn is learned, `answer_end` looks for it too.
    """
    position = 0
    for message in example.messages:
        system = message.role == "system"
        end = _message_end(message, text, 0 if system else position)
        if end < 0:
            owner = "the system prompt" if system else f"a turn of the {message.role}"
            return f"the chat template drops or changes {owner}, so the model would never see it: {OTHER}"
        position = position if system else end
    if any(_end_of(name, text, 0) < 0 for name in map(_tool_name, example.tools)):
        return f"the chat template leaves out the tools, so the model would never know them: {OTHER}"
    return ""


def _message_end(message: Message, text: str, start: int) -> int:
    said = message.content.strip()
    end = _end_of(said, text, start, as_json=message.role == "tool")
    if end < 0 and message.role == "assistant" and THOUGHT_END in said:
        return _end_of(said.rsplit(THOUGHT_END, 1)[1].strip(), text, start, as_json=False)
    return end


def _tool_name(tool: Mapping[str, Any]) -> str:
    function = tool.get("function", tool)
    return str(function.get("name", "")) if isinstance(function, Mapping) else ""
