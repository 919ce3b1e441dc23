"""Values of a row that must be of one type, and what the formats share.

An error here begins with a verb, `needs text in 'output', found null`; `Format.example` puts the format's name first.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from framework import FrameworkError
from framework.api import Example, FormatConfig, Formatter, Message
from framework_plugins.formats.formats.names import LABEL_FIELDS

Fields = Mapping[str, Any]
MAX_NAMED_FIELDS = 20
"""Fields of a row that a message names."""
MAX_SHOWN_CHARS = 40
LABELS = {
    **dict.fromkeys((
        "true", "1", "1.0", "yes", "desirable", "good", "wanted", "chosen", "accepted", "preferred", "thumbs up",
        "thumbs-up", "upvote", "👍", "up", "like",
    ), True),
    **dict.fromkeys((
        "false", "0", "0.0", "no", "undesirable", "bad", "unwanted", "rejected", "dispreferred", "thumbs down",
        "thumbs-down", "downvote", "👎", "down", "dislike",
    ), False),
}  # fmt: skip
"""How labels say whether an answer is wanted; numbers are what tables and pandas make of true and false."""
DESIRABLE = "desirable"
"""The fact of an answer with a label: 1.0 if it is wanted, 0.0 if it is not."""
PLAIN_NAME = re.compile(r"(?!(?:null|nan|inf|true|false)$)[^\W\d][\w.-]*(?: [\w-]+)*", re.ASCII | re.IGNORECASE)
"""A name that Hydra reads as text without quotation marks."""
FORMATTER_ADVICE = (
    "make turns of the row with a @formatter in a file of yours, plugins=[./FILE.py], docs/how-to/write-a-plugin.md"
)
CHAT_ADVICE = (
    "a chat between people, and the file does not say who is the assistant: write each conversation as one row of "
    'messages, {"role": "user", "content": …} and {"role": "assistant", "content": …} for whom the model learns to be'
)
SKIP = "data.on_bad_row=skip leaves such rows out"
MEDIA_FIELDS = ("image", "images", "audio", "audios", "video", "videos")
"""Fields and keys of turns that hold, or name, what is not text."""


class Format(Formatter):
    """The base class of the formats: it puts their name before each error."""

    name: ClassVar[str]

    def __init__(self, config: FormatConfig) -> None:
        self.config = config

    def example(self, fields: Fields) -> Example:
        """Turn a row into a conversation.

        Raises:
            FrameworkError: names the format, the turn if there are several, the field, and its value.
        """
        try:
            return self.read(fields)
        except FrameworkError as error:
            raise FrameworkError(f"format {self.name} {error}") from error

    @abstractmethod
    def read(self, fields: Fields) -> Example:
        """Read the row as `example` does; errors lack the format's name."""


def json_type(value: object) -> str:
    """Return the name of a value's type in the words of JSON."""
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


class MissingFieldError(FrameworkError):
    """A row lacks a field; `need` says which, without what the row has."""

    def __init__(self, name: str, present: str) -> None:
        self.need = f"needs the field '{name}'"
        super().__init__(f"{self.need}; {present}")


def missing(fields: Fields, name: str, owner: str = "the row") -> FrameworkError:
    """Return the error for a field that is not there, or is null."""
    if name in fields:
        return FrameworkError(f"needs text in '{name}', found {json_type(fields[name])}: {SKIP}")
    return MissingFieldError(name, f"{owner} has {names(fields) or 'no fields'}")


def names(fields: Fields) -> str:
    """Name the fields of a row, of many the first of them."""
    shown = [str(name) for name in itertools.islice(fields, MAX_NAMED_FIELDS)]
    remaining = len(fields) - len(shown)
    return ", ".join(shown) + (f" and {remaining:,} others" if remaining else "")


def text(fields: Fields, name: str, owner: str = "the row") -> str:
    """Return a field that must be text.

    Raises:
        FrameworkError: it is missing, or something else.
    """
    value = fields.get(name)
    if isinstance(value, str):
        return value
    if name not in fields:
        raise missing(fields, name, owner)
    raise FrameworkError(f"needs text in '{name}', found {json_type(value)}")


def optional(fields: Fields, name: str) -> str:
    """Return a field that is text, or empty if it is missing or null.

    Raises:
        FrameworkError: it is something else; a number is not text.
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


def is_labelled(fields: Fields) -> bool:
    """Whether a row has a label that may say whether its answer is wanted."""
    return any(_spell(fields.get(name)) for name in LABEL_FIELDS)


def label_facts(fields: Fields, wanted: Sequence[str] = (), unwanted: Sequence[str] = ()) -> dict[str, float]:
    """Return the fact `desirable` that the label of an answer gives, as data for KTO have it; nothing without a label.

    `wanted` and `unwanted` are labels that mean this, if there are any in place of those that say it themselves.

    Raises:
        FrameworkError: the label does not say whether the answer is wanted, or two labels disagree.
    """
    custom = {_spell(label): True for label in wanted} | {_spell(label): False for label in unwanted}
    labels = custom or LABELS
    verdicts: dict[bool, str] = {}
    for name in LABEL_FIELDS:
        if not (word := _spell(fields.get(name))):
            continue
        if word not in labels:
            label = _quote_name(str(fields[name]).strip())
            raise FrameworkError(
                f"has {short_repr(fields[name])} in '{name}', which does not say whether the answer is wanted: type "
                f'format=unpaired with "format.wanted=[{label}]" or "format.unwanted=[{label}]", or leave the field '
                f'out, "format.columns={{{name}: null}}"'
            )
        verdicts[labels[word]] = name
    if len(verdicts) > 1:
        positive, negative = verdicts[True], verdicts[False]
        raise FrameworkError(
            f"has two labels that disagree, '{positive}' is {short_repr(fields[positive])} and '{negative}' is "
            f'{short_repr(fields[negative])}: leave one out, "format.columns={{{negative}: null}}"'
        )
    return {DESIRABLE: float(next(iter(verdicts)))} if verdicts else {}


def _spell(label: object) -> str:
    """Return a label in small letters; empty if there is none."""
    return "" if label is None else " ".join(str(label).replace("_", " ").lower().split())


def quoted(setting: str, values: Mapping[str, str]) -> str:
    """Write a setting that is a mapping as a shell takes it."""
    word = f"{setting}={{{', '.join(f'{name}: {_quote_name(value)}' for name, value in values.items())}}}"
    return shlex.quote(word) if {*word} & {*'"$`\\!'} else f'"{word}"'


def _quote_name(name: str) -> str:
    return name if PLAIN_NAME.fullmatch(name) else "'" + name.replace("'", "\\'") + "'"


def short_repr(value: object) -> str:
    """Write a value for a message, a long one cut."""
    # `str`: Parquet and Arrow have dates and decimals.
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"


def check_media(fields: Fields, advice: str) -> None:
    """Look for pictures, sound and films beside the text of a row or a turn.

    Raises:
        FrameworkError: there are some; `advice` is the remedy.
    """
    name = next((name for name in MEDIA_FIELDS if fields.get(name)), None)
    if name is not None:
        raise FrameworkError(f"has '{name}', which no model reads here: {advice}")


def parse_json(value: str, name: str) -> Any:
    """Read text that holds JSON.

    Raises:
        FrameworkError: it holds none.
    """
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        position = f": {error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise FrameworkError(f"needs JSON in '{name}'{position}") from error
