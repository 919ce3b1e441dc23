"""What every conversation must be, whatever its format."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from framework.api.conversations import SKIP
from framework.api.records import Example, Message, ToolCall
from framework.util.errors import FrameworkError, summarize_error
from framework.util.guard import short_repr

ROLES = ("system", "user", "assistant", "tool")


def check_returned(part: str, example: object) -> None:
    """Check the types of what a format returned, which may be the code of anybody.

    Raises:
        FrameworkError: it is not an `Example`, or a field has the wrong type; the message begins with `part`.
    """
    if not isinstance(example, Example):
        raise FrameworkError(f"{part} returned {short_repr(example)}: return an Example(messages, format)")
    for name, turns in (("messages", example.messages), ("rejected", example.rejected)):
        if not isinstance(turns, tuple | list) or not all(isinstance(turn, Message) for turn in turns):
            raise FrameworkError(f"{part} returned {name}={short_repr(turns)}: give a tuple of Message(role, content)")
        for turn in turns:
            _check_types(part, turn)
    if not isinstance(example.tools, tuple | list) or not all(isinstance(tool, Mapping) for tool in example.tools):
        raise FrameworkError(f"{part} returned tools={short_repr(example.tools)}: give a tuple of JSON schemas")
    if not isinstance(example.options, tuple | list):
        raise FrameworkError(f"{part} returned options={short_repr(example.options)}: give a tuple of texts")
    for option in example.options:
        check_text(f"{part} returned options, of which one", option)
    for name, values in (("facts", example.facts), ("arrays", example.arrays)):
        if not isinstance(values, Mapping) or not all(isinstance(key, str) for key in values):
            raise FrameworkError(f"{part} returned {name}={short_repr(values)}: give a dict with names as keys")
    for name, value in example.facts.items():
        if not (isinstance(value, int | float) and abs(value) <= sys.float_info.max):
            raise FrameworkError(f"{part} returned the fact {name}={short_repr(value)}: give a finite int or float")


def _check_types(part: str, turn: Message) -> None:
    role, calls = turn.role, turn.tool_calls
    if not isinstance(role, str):
        raise FrameworkError(f"{part} returned a turn with role={short_repr(role)}; valid: {', '.join(ROLES)}")
    for text in (turn.content, turn.reasoning_content, turn.name, turn.tool_call_id):
        if not isinstance(text, str):
            raise FrameworkError(f"{part} makes the {role}'s turn {type(text).__name__}, not text")
    if not isinstance(calls, tuple | list) or not all(isinstance(call, ToolCall) for call in calls):
        raise FrameworkError(f"{part} returned tool_calls={short_repr(calls)}: give a tuple of ToolCall")


def check_turns(example: Example) -> None:
    """Check the turns of a conversation one by one; the method checks which may be the last.

    The order of the turns between the first and the last is the template's.

    Raises:
        FrameworkError: it begins with another than the user, a role is unknown, a turn is not text, or a call or a
            tool's schema is not JSON.
    """
    if example.text is not None:
        check_text("plain text", example.text)
        return
    messages = example.messages
    first_role = next((message.role for message in messages if message.role != "system"), "")
    if first_role in ("assistant", "tool"):
        raise FrameworkError(
            f"a conversation has to begin with a user's turn, and this one begins with the {first_role}'s{SKIP}"
        )
    for turn in messages:
        _check_turn(turn)
    for turn in example.rejected:
        _check_turn(turn)
    if example.tools:
        _check_json("a tool's schema", list(example.tools))


def _check_turn(turn: Message) -> None:
    if turn.role not in ROLES:
        raise FrameworkError(f"a turn has the role '{turn.role}'; valid: {', '.join(ROLES)}")
    check_text(f"the {turn.role}'s turn", turn.content)
    for text in (turn.reasoning_content, turn.name, turn.tool_call_id):
        if text:
            check_text(f"the {turn.role}'s turn", text)
    for call in turn.tool_calls:
        _check_json(f"the call of {call.name!r}", [call.name, call.id, call.arguments])


def check_text(label: str, text: object) -> None:
    """Check a text that becomes a part of a file.

    Raises:
        FrameworkError: it is not text, or cannot be written as UTF-8.
    """
    if not isinstance(text, str):
        raise FrameworkError(f"{label} is {type(text).__name__}, not text")
    try:
        text.encode()
    except UnicodeEncodeError as error:  # JSON may hold half of a surrogate pair, a tokenizer and a file may not
        raise FrameworkError(f"{label} is not valid text: {error.reason} at character {error.start + 1}") from error


def _check_json(label: str, value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:  # a date of Parquet, NaN, half of a surrogate pair
        raise FrameworkError(f"{label} cannot be written as JSON: {summarize_error(error)}") from error
