"""`format=sharegpt`: a list of turns with from and value."""

from __future__ import annotations

from framework.records import Example
from framework_formats.formats import tools, turns
from framework_formats.formats.names import SPOKEN
from framework_formats.formats.values import Fields, Format, is_pair, system


class ShareGPT(Format):
    """conversations with from and value."""

    name = "sharegpt"

    def matches(self, fields: Fields) -> bool:
        """Has a list of turns, the first with from and value, and is no preference pair."""
        found = any((turn := turns.first_turn(fields, name)) and turns.has_value(turn) for name in SPOKEN)
        return found and not is_pair(fields)

    def read(self, fields: Fields) -> Example:
        """Translate the role names; a turn of function_call becomes calls of the assistant."""
        name, values = turns.dialogue(fields, SPOKEN, turns.has_value)
        messages = turns.read(values, name, turns.by_speaker)
        before = () if messages[0].role == "system" else system(fields)
        return Example((*before, *messages), "sharegpt", tools=tools.schemas(fields))
