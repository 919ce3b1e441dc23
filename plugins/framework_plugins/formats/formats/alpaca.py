"""`format=alpaca`: instruction, input, output; also system, history and tools."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from framework import FrameworkError
from framework.api import Example, Message
from framework_plugins.formats.formats import tools
from framework_plugins.formats.formats.values import (
    Fields,
    Format,
    is_labelled,
    json_type,
    label_facts,
    optional,
    parse_json,
    system,
    text,
)

EXCHANGE = 2


class Alpaca(Format):
    """instruction / input / output."""

    name = "alpaca"

    def matches(self, fields: Fields) -> bool:
        """Has instruction and output, and no label."""
        has_both = fields.get("instruction") is not None and fields.get("output") is not None
        return has_both and not is_labelled(fields)

    def read(self, fields: Fields) -> Example:
        """Join instruction and input with an empty line between, as the user's last turn."""
        messages = question(fields)
        answered = (*messages, Message("assistant", text(fields, "output")))
        return Example(answered, "alpaca", tools=tools.read_schemas(fields), facts=label_facts(fields))


def question(fields: Fields) -> tuple[Message, ...]:
    """Return all turns before the answer: system, the exchanges of `history`, instruction with input.

    Raises:
        FrameworkError: a field is missing or no text.
    """
    instruction, context = text(fields, "instruction"), optional(fields, "input")
    if context and not context.isspace():
        instruction = f"{instruction}\n\n{context}"
    return (*system(fields), *_history(fields), Message("user", instruction))


def _history(fields: Fields) -> Iterator[Message]:
    value: Any = fields.get("history")
    if value is None or value == "":  # an empty cell of a table
        return
    history = parse_json(value, "history") if isinstance(value, str) and value.startswith("[") else value
    if not isinstance(history, list):
        raise FrameworkError(f"needs a list of [question, answer] in 'history', found {json_type(history)}")
    for index, exchange in enumerate(history, start=1):
        if not (isinstance(exchange, list) and len(exchange) == EXCHANGE and all(isinstance(s, str) for s in exchange)):
            raise FrameworkError(f"needs a list of [question, answer] in 'history'; number {index} is not one")
        yield Message("user", exchange[0])
        yield Message("assistant", exchange[1])
