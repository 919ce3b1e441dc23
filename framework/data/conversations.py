"""Conversations as JSON, and the texts of one: what is asked, and what is answered last."""

from __future__ import annotations

import json
from typing import Any

from framework.api.records import Example, Message, ToolCall
from framework.api.records.rows import call_text

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def question_text(example: Example) -> str:
    """Return the question of a row as one text: all turns before the answer, without the system prompt."""
    turns = example.messages if example.is_prompt else example.messages[:-1]
    return "\n".join(message.content for message in turns if message.role != "system")


def answer_text(example: Example) -> str:
    """Return the last answer of a row as one text: all of a plain text, empty for a prompt."""
    if example.text is not None:
        return example.text
    if example.is_prompt:
        return ""
    return _turn_text(example.messages[-1])


def _turn_text(turn: Message) -> str:
    return turn.content or call_text(turn.tool_calls)


def rejected_text(example: Example) -> str:
    """Return the last turn of the rejected answer; an empty one is a space."""
    return (_turn_text(example.rejected[-1]) or " ") if example.rejected else ""


def facts_text(example: Example) -> str:
    """Return the facts of a row as JSON; empty without any."""
    return ENCODER.encode(dict(example.facts)) if example.facts else ""


def earlier_answers(example: Example) -> str:
    """Return the answers before the last that are learned, as one text; an empty one is a space."""
    turns = [turn for turn in example.messages[:-1] if turn.role == "assistant" and turn.learned]
    turns = [] if example.is_prompt else turns
    return Example.SEPARATOR.join(_turn_text(turn) or " " for turn in turns)


def context_text(example: Example) -> str:
    """Return all else that the model reads besides questions and answers, as one text."""
    system = [turn.content for turn in example.messages if turn.role == "system"]
    thoughts = [turn.reasoning_content for turn in example.messages if turn.reasoning_content]
    calls = [f"{call.name} {ENCODER.encode(call.arguments)}" for turn in example.messages for call in turn.tool_calls]
    return "\n".join([*system, *thoughts, *calls, *(ENCODER.encode(dict(tool)) for tool in example.tools)])


def has_system(example: Example) -> bool:
    """Whether a conversation begins with a system prompt."""
    return bool(example.messages) and example.messages[0].role == "system"


def to_json(example: Example) -> str:
    """Write a conversation as JSON without empty fields."""
    plain: dict[str, Any] = {"format": example.format, "messages": [_turn(message) for message in example.messages]}
    lists = {"tools": [dict(tool) for tool in example.tools], "rejected": [_turn(turn) for turn in example.rejected]}
    plain |= {name: value for name, value in lists.items() if value}
    if example.text is not None:
        plain["text"] = example.text
    if example.cluster:
        plain["cluster"] = example.cluster
    if example.facts:
        plain["facts"] = dict(example.facts)
    if example.options:
        plain["options"] = list(example.options)
    if example.columns:
        plain["columns"] = json.dumps(dict(example.columns), default=str)  # dates of Parquet, halves of characters
    return ENCODER.encode(plain)


def _turn(message: Message) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        turn["tool_calls"] = [
            {"name": call.name, "arguments": call.arguments, "id": call.id} for call in message.tool_calls
        ]
    for name in ("name", "tool_call_id", "reasoning_content"):
        if value := getattr(message, name):
            turn[name] = value
    if not message.learned:
        turn["learned"] = False
    return turn


def from_json(text: str, where: str) -> Example:
    """Read a conversation written by `to_json`."""
    plain = json.loads(text)
    messages, rejected = (
        tuple(
            Message(**{**turn, "tool_calls": tuple(ToolCall(**call) for call in turn.get("tool_calls", ()))})
            for turn in plain.get(name, ())
        )
        for name in ("messages", "rejected")
    )
    tools, text = tuple(plain.get("tools", ())), plain.get("text")
    cluster, facts, columns = plain.get("cluster", ""), plain.get("facts", {}), json.loads(plain.get("columns", "{}"))
    options = tuple(plain.get("options", ()))
    return Example(
        messages, plain["format"], where, tools, rejected, text, cluster, facts, columns=columns, options=options
    )


ROW_TEXTS = (question_text, answer_text, earlier_answers, context_text, rejected_text, facts_text, to_json)
"""The texts that a store keeps of each row, in the order of its columns."""
