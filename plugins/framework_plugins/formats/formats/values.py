"""Values of a row that must be of one type, and what the formats share.

An error here begins with a verb, `needs text in 'output', found null`; `Format.example` puts the format's name first.
"""

from __future__ import annotations

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from framework import FrameworkError
from framework.api import Example, FormatConfig, Message
from framework_plugins.formats.formats.names import LABELS

Fields = Mapping[str, Any]
SHOWN = 20
"""Fields of a row that a message names."""
SHOWN_CHARACTERS = 40
WANTED = frozenset({"true", "1", "1.0", "yes", "desirable", "good", "chosen", "accepted", "preferred"})
UNWANTED = frozenset({"false", "0", "0.0", "no", "undesirable", "bad", "rejected", "dispreferred", "unwanted"})
"""How a label says it; numbers are what tables and pandas make of true and false."""
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
"""Fields and keys of turns that hold, or name, what is no text."""


class Format(ABC):
    """What the formats of this package share: the errors that their name is put before."""

    name: ClassVar[str]

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def example(self, fields: Fields) -> Example:
        """Turn a row into a conversation.

        Raises:
            FrameworkError: names the format, the turn if there are several, the field, and what stands there.
        """
        try:
            return self.read(fields)
        except FrameworkError as error:
            raise FrameworkError(f"format {self.name} {error}") from error

    @abstractmethod
    def read(self, fields: Fields) -> Example:
        """Do the work of `example`; errors lack the format's name."""


def kind_of(value: object) -> str:
    """Name what stands in place of something else, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "text" if value else "empty text"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if isinstance(value, Mapping) else f"a value of type {type(value).__name__}"


def is_object(value: object) -> bool:
    """Whether a value is a JSON object."""
    return isinstance(value, dict) or isinstance(value, Mapping)  # noqa: SIM101 - dict first is three times as fast


def is_pair(fields: Fields) -> bool:
    """Whether a row is a preference pair, whatever else it has."""
    return fields.get("chosen") is not None and fields.get("rejected") is not None


def missing(fields: Fields, name: str, what: str = "the row") -> FrameworkError:
    """Return the error for a field that is not there."""
    return FrameworkError(f"needs the field '{name}'; {what} has {names(fields) or 'no fields'}")


def names(fields: Fields) -> str:
    """Name the fields of a row, of many the first of them."""
    shown = [str(name) for name in itertools.islice(fields, SHOWN)]
    more = len(fields) - len(shown)
    return ", ".join(shown) + (f" and {more:,} others" if more else "")


def text(fields: Fields, name: str, what: str = "the row") -> str:
    """Return a field that must be text.

    Raises:
        FrameworkError: it is missing, or something else.
    """
    value = fields.get(name)
    if isinstance(value, str):
        return value
    if name not in fields:
        raise missing(fields, name, what)
    raise FrameworkError(f"needs text in '{name}', found {kind_of(value)}")


def optional(fields: Fields, name: str) -> str:
    """Return a field that is text, or empty where it is missing or null.

    Raises:
        FrameworkError: it is something else; a number is no text.
    """
    value = fields.get(name)
    return "" if value is None else text(fields, name)


def system(fields: Fields) -> tuple[Message, ...]:
    """Return the system prompt in the field `system`, or else `system_prompt`, as one turn or none."""
    value = fields.get("system")
    if (
        isinstance(value, list)
        and value
        and all(is_object(part) and isinstance(part.get("text"), str) for part in value)
    ):
        prompt = "".join(part["text"] for part in value)  # parts, as Anthropic and Bedrock have them
    else:
        prompt = optional(fields, "system") or optional(fields, "system_prompt")
    return (Message("system", prompt),) if prompt else ()


def check_label(fields: Fields) -> None:
    """Look at the label of an answer, as data for KTO have it.

    Raises:
        FrameworkError: the answer was not wanted, so it is nothing to learn, or the label does not say whether it was.
    """
    for name in LABELS:
        label = fields.get(name)
        if label is None:
            continue
        word = str(label).strip().lower()
        if word in UNWANTED:
            raise FrameworkError(
                f"has an answer that was not wanted ('{name}' is {shown(label)}): data.on_bad_row=skip leaves such "
                "rows out"
            )
        if word and word not in WANTED:
            raise FrameworkError(
                f"needs true or 1 (the answer is wanted), or false or 0 (it is not) in '{name}', found "
                f'{shown(label)}: if it says something else, leave the field out, "format.columns={{{name}: null}}"'
            )


def shown(value: object) -> str:
    """Write a value for a message, a long one cut."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def check_media(fields: Fields, what: str) -> None:
    """Look for pictures, sound and films beside the text of a row or a turn.

    Raises:
        FrameworkError: there are some; `what` says what to do.
    """
    name = next((name for name in MEDIA if fields.get(name)), None)
    if name is not None:
        raise FrameworkError(f"has '{name}', which no model reads here: {what}")


def parsed(value: str, name: str) -> Any:
    """Read text that holds JSON.

    Raises:
        FrameworkError: it holds none.
    """
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        place = f": {error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise FrameworkError(f"needs JSON in '{name}'{place}") from error
