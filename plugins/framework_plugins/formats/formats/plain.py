"""`format=text`: plain text, learned from its first to its last token."""

from __future__ import annotations

from framework.api import Example
from framework_plugins.formats.formats.names import BESIDE_TEXT
from framework_plugins.formats.formats.values import Fields, Format, text


class Text(Format):
    """text."""

    name = "text"
    fallback = True
    """`format=auto` takes it only where no other format fits."""

    def matches(self, fields: Fields) -> bool:
        """Has text, and no field beside it that asks, answers or labels."""
        if not isinstance(fields.get("text"), str):
            return False
        return BESIDE_TEXT.isdisjoint(fields) or all(fields.get(name) is None for name in BESIDE_TEXT)

    def read(self, fields: Fields) -> Example:
        """Take the text as it is."""
        return Example((), "text", text=text(fields, "text"))
