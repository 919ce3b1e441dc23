"""Rows that a format fits and that it would misread: `format=auto` refuses them, the format by its name reads them."""

from __future__ import annotations

import re

from framework import FrameworkError
from framework_plugins.formats.formats.values import Fields, check_media

MARKS = re.compile(
    r"""<[|｜](?:im_(?:start|user|assistant|system)|(?:start_)?header(?:_id|_start)|start_of_role|START_OF_TURN_TOKEN
        |(?:hy_)?(?:user|assistant|system)|(?:user|assistant|system)_start|turn)[|｜]?>
    |<start_of_turn>|\[/?INST\]|\[\|(?:user|assistant|system)\|\]|<<SYS>>|<seed:bos>(?:user|assistant|system)
    |<\|start\|>(?:user|assistant|system|developer)|<(?:extra_id_1|SPECIAL_11)>(?:User|Assistant)|\]~b\](?:user|ai)""",
    re.VERBOSE | re.IGNORECASE,
)
"""How chat templates begin a turn."""
ASKED = re.compile(r"###[ ]?(?:Instruction|Human|User|Question):|\n\nHuman:")
ANSWERED = re.compile(r"###[ ]?(?:Response|Assistant|Answer):|\n\nAssistant:")
"""How turns begin in templates without special tokens; text that has both was rendered by one."""
TREE = ("parent_id", "parent_message_id")


def check_misread(name: str, known: Fields, fields: Fields) -> None:
    """Look whether a format would misread a row.

    Args:
        name: of the format.
        known: the row by the format's names.
        fields: the row as it came.

    Raises:
        FrameworkError: it would; says what to do, and the format that takes the row as it is.
    """
    check_media(fields, f"format={name} learns the text only; data.on_bad_row=skip leaves such rows out")
    if name != "text":
        return
    text = known["text"]
    parent = next((key for key in TREE if key in fields), None)
    if parent is not None or isinstance(fields.get("role"), str):
        key = parent or "role"
        raise FrameworkError(
            f"has one message in 'text' and '{key}' beside it: write each path of the tree from its first message to "
            "an answer as one row of messages (role, content); format=text learns every message as plain text"
        )
    mark = _mark(text)
    if mark:
        raise FrameworkError(
            f"has text that a chat template rendered ({mark!r} in 'text'): write its turns as messages (role, content) "
            "to learn the answers alone; format=text learns the questions too, and stops where this text does"
        )


def _mark(text: str) -> str:
    """Return what shows that a text was rendered; empty where nothing does."""
    found = MARKS.search(text) if "<" in text or "[" in text or "]" in text else None
    if found is None and (asked := ASKED.search(text)) and ANSWERED.search(text, asked.end()):
        found = asked
    return found[0].strip() if found else ""
