"""Lists of turns, role/content and from/value."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from framework import FrameworkError
from framework.api import Message, unknown
from framework_plugins.formats.dialogue_text import marked_turns
from framework_plugins.formats.formats import tools
from framework_plugins.formats.formats.values import (
    FORMATTER_ADVICE,
    MEDIA_FIELDS,
    Fields,
    check_media,
    is_object,
    json_type,
    missing,
    optional,
    short_repr,
    text,
)

ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool", "model": "assistant", "chatbot": "assistant", "human": "user", "ai": "assistant",
    "bot": "assistant", "prompter": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant",
    "bard": "assistant", "observation": "tool", "function_response": "tool", "tool_response": "tool",
}  # fmt: skip
"""Who speaks, by all names that people have."""
SHOWN_ROLES = ("system", "developer", "user", "human", "assistant", "gpt", "model", "bot", "tool")
"""Those that a message lists."""
SHAREGPT_ROLES = {**ROLES, "function_call": "assistant", "tool_call": "assistant"}
CALL_SPEAKERS = ("function_call", "tool_call")
PYTHON_LIST_PROBLEM = "a list as Python prints it; write it with json.dumps"
MEDIA_ADVICE = "take it out of the turn, or data.on_bad_row=skip leaves such rows out"
TEXT_PARTS = ("text", "input_text", "output_text")
THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
WEIGHT_KEYS = ("weight", "train", "loss", "loss_mask")
"""Keys with which a turn says whether it is learned: OpenAI's, Axolotl's, ms-swift's, and that of older trainers."""
CHANNELS = ("analysis", "commentary", "final")
"""Where gpt-oss says something: a thought, a call, an answer."""
TURN_KEYS = ({"role", "content"}, {"from", "value"})
MIN_TURN_KEYS = 2
"""Keys of a turn that says who and what, and nothing else: most are such."""
JSON_LIST_START = re.compile(r"\s*\[\s*\{")
"""How a list of objects begins as JSON text; the first character rules out almost all text."""
PYTHON_LIST_START = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)'\s*:")
"""How a list of turns begins that was written into a table as Python shows it, which is not JSON."""


def first_turn(fields: Fields, name: str) -> Fields | None:
    """Return the first turn of the dialogue in a field, also one in JSON text; None if there is no dialogue."""
    value = unpacked(fields.get(name))
    return value[0] if isinstance(value, list) and value and is_object(value[0]) else None


def unpacked(value: Any) -> Any:
    """Return the list of objects that a value holds as JSON text or as an object of lists, any other value as it is."""
    if isinstance(value, dict) and any(keys <= value.keys() for keys in TURN_KEYS):
        return _rows_of_columns(value)
    objects = _parse_objects(value) if isinstance(value, str) and JSON_LIST_START.match(value) else None
    return value if objects is None else objects


def _rows_of_columns(columns: Mapping[str, Any]) -> Any:
    """Return the turns of an object of lists, as `datasets` writes a list of objects; any other value as it is."""
    lists = {key: values for key, values in columns.items() if isinstance(values, list)}
    if len({len(values) for values in lists.values()}) != 1 or not any(keys <= lists.keys() for keys in TURN_KEYS):
        return columns
    return [dict(zip(lists, turn, strict=True)) for turn in zip(*lists.values(), strict=True)]


@lru_cache(maxsize=4)  # several formats look at a row, in several fields, before one reads it
def _parse_objects(value: str) -> list[Any] | None:
    try:
        objects: list[Any] = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return objects if all(map(is_object, objects)) else None


def unpacked_turns(fields: Fields, name: str) -> Any:
    """Return the turns that a field holds as JSON text, any other value as it is.

    For fields in which text is valid too: an answer may be a list of objects, so the first must be a turn whose role
    is known.

    Raises:
        FrameworkError: the turns are there as Python shows them.
    """
    value = fields.get(name)
    turns = unpacked(value)
    if turns is not value and not _is_turn(turns[0]):
        return value
    if isinstance(turns, str) and PYTHON_LIST_START.match(turns):
        raise FrameworkError(f"needs text or a list of turns in '{name}', found {PYTHON_LIST_PROBLEM}")
    return turns


def _is_turn(turn: Fields) -> bool:
    if has_content(turn):
        return isinstance(turn["role"], str) and turn["role"] in ROLES
    return has_value(turn) and isinstance(turn["from"], str) and turn["from"] in SHAREGPT_ROLES


def has_content(turn: Fields) -> bool:
    """Whether a turn is written with role and content."""
    return "role" in turn and ("content" in turn or "tool_calls" in turn or "function_call" in turn)


def has_value(turn: Fields) -> bool:
    """Whether a turn is written with from and value."""
    return "from" in turn and "value" in turn


def dialogue(fields: Fields, names: Iterable[str], fits: Callable[[Fields], bool]) -> tuple[str, list[Any]]:
    """Return the dialogue in one of the fields and the field's name; the first that fits, else the first at all.

    Raises:
        FrameworkError: none of them is there, or it holds something else.
    """
    # A table has every column in every row: a null one comes last.
    present = sorted((name for name in names if name in fields), key=lambda name: fields[name] is None)
    candidates = [(name, turn) for name in present if (turn := first_turn(fields, name)) is not None]
    name = next((name for name, turn in candidates if fits(turn)), candidates[0][0] if candidates else None)
    if name is not None:
        return name, unpacked(fields[name])
    if not present:
        raise missing(fields, next(iter(names)))
    raise FrameworkError(f"needs a list of turns in '{present[0]}', found {_kind_of_list(fields[present[0]])}")


def _kind_of_list(value: object) -> str:
    if isinstance(value, str) and JSON_LIST_START.match(value):
        return (
            PYTHON_LIST_PROBLEM
            if PYTHON_LIST_START.match(value)
            else "text that begins like a list of objects and is not valid JSON"
        )
    return f"a list that begins with {json_type(value[0])}" if isinstance(value, list) and value else json_type(value)


def read(values: Iterable[Any], name: str, turn: Callable[[Fields], Message]) -> tuple[Message, ...]:
    """Read the turns in field `name`, each by `turn`.

    Raises:
        FrameworkError: one cannot be read; names it by its number.
    """
    messages: list[Message] = []
    turn_number, thought = 0, None
    try:
        for value in values:
            turn_number += 1
            if not is_object(value):
                raise FrameworkError(f"needs an object, found {json_type(value)}")  # noqa: TRY301 - told with the number, like those of `turn`
            message = turn(value)
            if thought is not None:
                message = _add_thought(message, thought)
            thought = message if len(value) > MIN_TURN_KEYS and _is_thought(value, message) else None
            if thought is None:
                messages.append(message)
        if thought is not None:
            raise FrameworkError("is a thought (channel 'analysis'), and no answer follows")  # noqa: TRY301 - as above
    except FrameworkError as error:
        raise FrameworkError(f"(turn {turn_number} of '{name}') {error}") from error
    return tuple(messages)


def _is_thought(turn: Fields, message: Message) -> bool:
    """Whether a turn is the thought of the next one, by its channel in the format of gpt-oss.

    Raises:
        FrameworkError: the channel is unknown, or does not go with what the turn holds.
    """
    channel = turn.get("channel")
    if not channel or message.role != "assistant":
        return False
    if channel not in CHANNELS:
        raise FrameworkError(f"has an {unknown('channel', str(channel), CHANNELS)}".rstrip("."))
    if (channel == "commentary") is not bool(message.tool_calls):
        needed = "calls a tool" if channel == "commentary" else "calls none"
        raise FrameworkError(
            f"has the channel '{channel}', in which a turn {needed}: write this turn without a channel"
        )
    if channel == "analysis" and message.reasoning_content:
        raise FrameworkError("is a thought (channel 'analysis') and has another beside or before it: write them as one")
    return bool(channel == "analysis")


def _add_thought(message: Message, thought: Message) -> Message:
    """Return an answer or a call with the thought before it."""
    if message.role != "assistant" or message.reasoning_content or message.learned is not thought.learned:
        raise FrameworkError(
            "follows a thought (channel 'analysis'): it must be the assistant's, have no other thought, and be learned "
            "if the thought is"
        )
    return replace(message, reasoning_content=thought.content)


def by_role(turn: Fields) -> Message:
    """Read a turn with role and content."""
    role = _role(turn, "role", ROLES)
    if len(turn) == MIN_TURN_KEYS and isinstance(turn.get("content"), str):
        return Message(role, turn["content"])
    check_media(turn, MEDIA_ADVICE)
    if role == "assistant":
        return _assistant(turn)
    if role == "tool":
        return Message(role, content(turn), (), optional(turn, "name"), optional(turn, "tool_call_id"))
    return Message(role, content(turn))


def _assistant(turn: Fields) -> Message:
    calls = tools.read_calls(turn)
    thought = next((value for name in THOUGHT_KEYS if (value := optional(turn, name))), "")
    parts = turn.get("content")
    if isinstance(parts, list):
        thoughts = [text(part, "thinking", "the part") for part in parts if _is_thinking(part)]
        thought = "\n".join([*([thought] if thought else []), *thoughts])
        turn = {**turn, "content": [part for part in parts if not _is_thinking(part)] or ("" if thoughts else parts)}
    answer = "" if calls and turn.get("content") is None else content(turn)
    return Message("assistant", answer, calls, reasoning_content=thought, learned=_is_learned(turn))


def content(turn: Fields) -> str:
    """Return the content of a turn: text, or parts of text that are joined.

    Raises:
        FrameworkError: it is something else, an image for example.
    """
    value = turn.get("content")
    if isinstance(value, list) and value:
        return "".join(_part(part) for part in value)
    return text(turn, "content", "the turn")


def _is_thinking(part: Any) -> bool:
    return isinstance(part, Mapping) and part.get("type") == "thinking"


def _part(part: Any) -> str:
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if kind in TEXT_PARTS:
        return text(part, "text", "the part")
    if isinstance(kind, str) and kind.removeprefix("input_").partition("_")[0] in MEDIA_FIELDS:
        raise FrameworkError(
            f"has a part of type {kind!r} in 'content', which no model reads here: only text is learned; "
            "data.on_bad_row=skip leaves such rows out"
        )
    description = f"a part of type {kind!r}" if kind else json_type(part)
    advice = f": {FORMATTER_ADVICE}" if kind else ""
    raise FrameworkError(f"needs text, or parts of type 'text', in 'content', found {description}{advice}")


def by_speaker(turn: Fields) -> Message:
    """Read a turn with from and value."""
    role = _role(turn, "from", SHAREGPT_ROLES)
    if len(turn) == MIN_TURN_KEYS and turn["from"] not in CALL_SPEAKERS:
        return Message(role, text(turn, "value", "the turn"))
    check_media(turn, MEDIA_ADVICE)
    if role == "assistant":
        calling = turn["from"] in CALL_SPEAKERS
        calls = tools.calls_in(turn.get("value"), "value") if calling else ()
        return Message(role, "" if calling else text(turn, "value", "the turn"), calls, learned=_is_learned(turn))
    name = optional(turn, "name") if role == "tool" else ""
    return Message(role, text(turn, "value", "the turn"), (), name)


def _role(turn: Fields, name: str, roles: Mapping[str, str]) -> str:
    value = turn.get(name)
    role = roles.get(value) or roles.get(value.lower()) if isinstance(value, str) else None
    if role is not None:
        return role
    if name not in turn:
        raise missing(turn, name, "the turn")
    if isinstance(value, str):
        message = f"has an {unknown('role', value, SHOWN_ROLES)}".rstrip(".")
    else:
        message = f"needs a role in '{name}', found {json_type(value)}; valid: {', '.join(SHOWN_ROLES)}"
    raise FrameworkError(message)


def _is_learned(turn: Fields) -> bool:
    """Whether the turn is learned: other trainers mark those that are not.

    Raises:
        FrameworkError: a mark is neither 0 nor 1, in any spelling.
    """
    learned = True
    for name in WEIGHT_KEYS:
        value = turn.get(name)
        word = "" if value is None else str(value).strip().lower()
        if word in ("0", "0.0", "false"):
            learned = False
        elif word not in ("", "1", "1.0", "true"):
            raise FrameworkError(
                f"needs 1 (the turn is learned) or 0 (it is context) in '{name}', found {short_repr(value)}: a turn "
                "cannot be learned in part"
            )
    return learned


def as_context(messages: Iterable[Message]) -> tuple[Message, ...]:
    """Return the turns, none of them learned."""
    return tuple(replace(turn, learned=False) if turn.role == "assistant" else turn for turn in messages)


def any_turn(turn: Fields) -> Message:
    """Read a turn of either spelling."""
    return by_speaker(turn) if "from" in turn else by_role(turn)


def marked_messages(value: str) -> tuple[Message, ...]:
    """Return the turns of text in the old form of Anthropic; empty for other text."""
    return tuple(Message(role, utterance) for role, utterance in marked_turns(value))
