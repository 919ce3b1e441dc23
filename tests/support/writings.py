"""One conversation, written in every way that the formats know."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from framework.api.records import Message

TEXT = st.text(min_size=1)
SHAREGPT = {"system": "system", "user": "human", "assistant": "gpt", "tool": "tool"}

Fields = dict[str, Any]


@st.composite
def conversations(draw: st.DrawFn, text: st.SearchStrategy[str] = TEXT) -> list[Message]:
    """Draw a system turn or none, then one to four exchanges."""
    messages = [Message("system", draw(text))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 4))):
        messages += [Message("user", draw(text)), Message("assistant", draw(text))]
    return messages


def learned_by(kind: str, messages: Sequence[Message]) -> list[Message]:
    """Return a conversation as a format learns it: of prompt and completion the last turn alone."""
    if kind != "prompt_completion":
        return list(messages)
    before = [replace(turn, learned=turn.role != "assistant") for turn in messages[:-1]]
    return [*before, messages[-1]]


def turns(messages: Sequence[Message]) -> list[Fields]:
    """Write turns with role and content."""
    return [{"role": message.role, "content": message.content} for message in messages]


def spoken(messages: Sequence[Message]) -> list[Fields]:
    """Write turns with from and value."""
    return [{"from": SHAREGPT[message.role], "value": message.content} for message in messages]


def writings(messages: Sequence[Message]) -> dict[str, list[Fields]]:
    """Write a conversation in every way that each format knows."""
    system = {"system": messages[0].content} if messages[0].role == "system" else {}
    rest = messages[len(system) :]
    *history, asked, answer = (message.content for message in rest)
    parts: list[Fields] = [
        {"role": turn["role"], "content": [{"type": "text", "text": turn["content"]}]} for turn in turns(messages)
    ]
    columns: list[Fields] = [
        {**turn, "name": None, "tool_calls": None, "reasoning_content": None} for turn in turns(messages)
    ]
    alpaca: Fields = {"instruction": asked, "output": answer, **system}
    pairs = [list(pair) for pair in zip(history[::2], history[1::2], strict=True)]
    return {
        "chatml": [
            {"messages": turns(messages)},
            {"conversations": turns(messages)},
            {"messages": turns(rest), **system},
            {"messages": parts},
            {"messages": columns, "tools": None, "text": "all of it"},
        ],
        "sharegpt": [
            {"conversations": spoken(messages)},
            {"conversation": spoken(messages), "tools": ""},
            {"conversations": spoken(rest), **system},
        ],
        "prompt_completion": [
            {"prompt": turns(messages[:-1]), "completion": turns(messages[-1:])},
            {"prompt": turns(messages[:-1]), "completion": answer},
            *([] if history else [{"prompt": asked, "completion": answer, **system}]),
        ],
        "alpaca": [
            {**alpaca, "history": pairs},
            {**alpaca, "history": pairs, "input": ""},
            *([] if history else [alpaca, {**alpaca, "input": None, "history": None, "text": "all of it"}]),
        ],
    }


def written(messages: Sequence[Message]) -> Iterator[tuple[str, Fields]]:
    """Give each writing with the name of its format."""
    return ((kind, fields) for kind, rows in writings(messages).items() for fields in rows)
