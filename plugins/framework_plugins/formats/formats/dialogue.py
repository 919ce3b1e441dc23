"""`format=chatml` and `format=sharegpt`: a list of turns, with role and content or with from and value."""

from __future__ import annotations

from typing import ClassVar

from framework.api import Example, Message
from framework_plugins.formats.formats import tools, turns
from framework_plugins.formats.formats.names import DIALOGUE_FIELDS, SHAREGPT_FIELDS
from framework_plugins.formats.formats.values import Fields, Format, is_labelled, is_pair, label_facts, system


class Dialogue(Format):
    """A list of turns in one of the fields `lists`, each with what `fits` looks for, read by `turn`."""

    lists: ClassVar[tuple[str, ...]]
    fits: ClassVar[staticmethod[[Fields], bool]]
    turn: ClassVar[staticmethod[[Fields], Message]]

    def matches(self, fields: Fields) -> bool:
        """Has a list of turns, the first of which fits, and is neither a preference pair nor has a label.

        A completion as OpenAI stores it has the answer beside its turns, in `choices`.
        """
        has_turns = any((turn := turns.first_turn(fields, name)) and self.fits(turn) for name in self.lists)
        stored = "choices" in fields and "message" in (turns.first_turn(fields, "choices") or ())
        return has_turns and not stored and not is_pair(fields) and not is_labelled(fields)

    def read(self, fields: Fields) -> Example:
        """Take the turns as they are; a field `system` counts if no turn has that role."""
        name, values = turns.dialogue(fields, self.lists, self.fits)
        messages = turns.read(values, name, self.turn)
        before = () if messages[0].role == "system" else system(fields)
        messages = (*before, *messages)
        return Example(messages, self.name, tools=tools.read_schemas(fields), facts=label_facts(fields))


class ChatML(Dialogue):
    """messages with role and content."""

    name = "chatml"
    lists = DIALOGUE_FIELDS
    fits = staticmethod(turns.has_content)
    turn = staticmethod(turns.by_role)


class ShareGPT(Dialogue):
    """conversations with from and value; a turn of function_call becomes calls of the assistant."""

    name = "sharegpt"
    lists = SHAREGPT_FIELDS
    fits = staticmethod(turns.has_value)
    turn = staticmethod(turns.by_speaker)
