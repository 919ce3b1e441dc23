"""Turn a conversation into others: one for each of its answers, or one with its thoughts moved; thoughts in answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from framework.api.records import Example, Message, ToolCall
from framework.api.schema import Thoughts
from framework.util.errors import FrameworkError

__all__ = [
    "BEGIN_CALL",
    "BEGIN_THOUGHT",
    "END_THOUGHT",
    "call_text",
    "check_answered",
    "conversation",
    "for_each_answer",
    "is_prompt",
    "split_thought",
    "with_thoughts",
    "without_thought",
]

SKIP = "; remove the extra turns, or set data.on_bad_row=skip to leave such rows out"
ANSWER = ", answer "
"""The text between the name of a conversation and the number of its answer."""
BEGIN_THOUGHT, END_THOUGHT = "<think>", "</think>"
BEGIN_CALL, END_CALL = "<tool_call>", "</tool_call>"
_TAGGED = re.compile(rf"\s*{BEGIN_THOUGHT}(.*?){END_THOUGHT}\s*", re.DOTALL)


def check_answered(example: Example) -> None:
    """Check that a conversation ends with an answer and that an answer is learned; plain text is.

    Raises:
        FrameworkError: it is not.
    """
    messages = example.messages
    if example.text is not None:
        return
    if not messages or messages[-1].role != "assistant":
        end = f"ends with '{messages[-1].role}'" if messages else "has no turns"
        raise FrameworkError(f"a conversation has to end with an assistant's turn, and this one {end}{SKIP}")
    if not any(turn.learned for turn in messages if turn.role == "assistant"):
        raise FrameworkError(
            "no assistant's turn is learned: each has weight 0, or is in the prompt, which has to end with the user's"
        )


def is_prompt(example: Example) -> bool:
    """Whether a conversation ends without an answer: it is written as inference is given it, and nothing is learned."""
    return bool(example.messages) and example.messages[-1].role != "assistant"


def call_text(calls: Iterable[ToolCall]) -> str:
    """Write calls as most models do: each as JSON between `<tool_call>` and `</tool_call>`."""
    plain = (json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False) for call in calls)
    return "\n".join(f"{BEGIN_CALL}\n{text}\n{END_CALL}" for text in plain)


# Templates of reasoning models drop the thoughts of earlier answers once turns follow (decision 0082).
def for_each_answer(example: Example) -> Iterator[Example]:
    """Yield a conversation for each learned answer: the turns up to it, with only this answer learned.

    These belong together, so they stay on one side of the split and the verdict counts them as one. A conversation with
    one answer, a prompt, or plain text stays as it is.
    """
    learned = [n for n, turn in enumerate(example.messages) if turn.role == "assistant" and turn.learned]
    if not learned[1:] or is_prompt(example):
        yield example
        return
    context = [replace(turn, learned=turn.role != "assistant") for turn in example.messages]
    cluster = example.cluster or example.where
    for ordinal, index in enumerate(learned, start=1):
        yield Example(
            (*context[:index], example.messages[index]),
            example.format,
            f"{example.where}{ANSWER}{ordinal}",
            example.tools,
            example.rejected if index == len(example.messages) - 1 else (),
            cluster=cluster,
            facts=example.facts,
            columns=example.columns,
        )


def conversation(where: str) -> str:
    """Return the place of the conversation whose answer a row is; for any other row, its own place."""
    name, _, suffix = where.rpartition(ANSWER)
    return name if suffix.isdecimal() else where


def split_thought(text: str) -> tuple[str, str]:
    """Return the thought that an answer begins with, and the rest; a thought that never ends is the answer."""
    match = _TAGGED.match(text)
    return (match[1].strip(), text[match.end() :]) if match else ("", text)


def with_thoughts(example: Example, thoughts: Thoughts) -> Example:
    """Return the conversation with its thoughts where `format.thoughts` puts them; plain text stays as it is.

    Thoughts are `reasoning_content`, and the text between `<think>` and `</think>` at the beginning of an answer.
    """
    if thoughts is Thoughts.keep or example.text is not None:
        return example
    parts = example.messages, example.rejected
    messages, rejected = (tuple(_move_thought(turn, thoughts) for turn in turns) for turns in parts)
    return replace(example, messages=messages, rejected=rejected)


def _move_thought(turn: Message, thoughts: Thoughts) -> Message:
    if turn.role != "assistant":
        return turn
    tagged, content = split_thought(turn.content)
    thought = turn.reasoning_content.strip() or tagged
    if thoughts is Thoughts.inline and thought:
        return replace(turn, content=f"{BEGIN_THOUGHT}\n{thought}\n{END_THOUGHT}\n\n{content}", reasoning_content="")
    return replace(turn, content=content, reasoning_content=thought if thoughts is Thoughts.field else "")


def without_thought(pieces: Iterable[str]) -> Iterator[str]:
    """Give the pieces of an answer without the thought that it begins with, and the white space around that.

    While it may still be a thought an empty piece comes for each one, so that the caller sees progress. A
    thought that never ends is the answer.
    """
    pieces, buffer = iter(pieces), ""
    for piece in pieces:
        buffer += piece
        if not _may_be_thought(buffer):
            yield buffer
            break
        if answer := buffer.partition(END_THOUGHT)[2].lstrip():
            yield answer
            break
        yield ""
    else:
        if buffer and END_THOUGHT not in buffer:
            yield buffer
        return
    yield from pieces


def _may_be_thought(text: str) -> bool:
    start = text.lstrip()
    return start.startswith(BEGIN_THOUGHT) or BEGIN_THOUGHT.startswith(start)
