"""`format=chatml`: a list of turns with role and content, as OpenAI writes them."""

from __future__ import annotations

from framework.records import Example
from framework_formats.formats import tools, turns
from framework_formats.formats.names import DIALOGUE
from framework_formats.formats.values import Fields, Format, is_pair, system


class ChatML(Format):
    """messages with role and content."""

    name = "chatml"

    def matches(self, fields: Fields) -> bool:
        """Has a list of turns, the first with role and content, and is no preference pair."""
        found = any((turn := turns.first_turn(fields, name)) and turns.has_content(turn) for name in DIALOGUE)
        return found and not is_pair(fields)

    def read(self, fields: Fields) -> Example:
        """Take the turns as they are; a field `system` counts where no turn has that role."""
        name, values = turns.dialogue(fields, DIALOGUE, turns.has_content)
        messages = turns.read(values, name, turns.by_role)
        before = () if messages[0].role == "system" else system(fields)
        return Example((*before, *messages), "chatml", tools=tools.schemas(fields))
