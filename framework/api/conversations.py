"""How thoughts, calls and the answers of one conversation are marked in texts and names."""

from __future__ import annotations

import re

SKIP = "; remove the extra turns, or set data.on_bad_row=skip to leave such rows out"
ANSWER = ", answer "
"""The text between the name of a conversation and the number of its answer."""
BEGIN_THOUGHT, END_THOUGHT = "<think>", "</think>"
BEGIN_CALL, END_CALL = "<tool_call>", "</tool_call>"
TAGGED_THOUGHT = re.compile(rf"\s*{BEGIN_THOUGHT}(.*?){END_THOUGHT}\s*", re.DOTALL)


def conversation(where: str) -> str:
    """Return the place of the conversation whose answer a row is; for any other row, its own place."""
    name, _, suffix = where.rpartition(ANSWER)
    return name if suffix.isdecimal() else where
