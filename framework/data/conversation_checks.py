"""What every conversation must be, whatever its format."""

from __future__ import annotations

import json

from framework.api.conversations import SKIP
from framework.api.records import Example, Message
from framework.util.errors import FrameworkError, summarize_error

ROLES = ("system", "user", "assistant", "tool")


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
