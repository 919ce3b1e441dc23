"""Rows that a format fits and that it would misread: `format=auto` refuses them, the format by its name reads them."""

from __future__ import annotations

from framework import FrameworkError
from framework.api import Example
from framework_plugins.formats import dialogue_text
from framework_plugins.formats.formats.values import CHAT_ADVICE, Fields, check_media

TREE_FIELDS = ("parent_id", "parent_message_id")
AS_MESSAGES = "write its turns as messages (role, content) to learn the answers alone"


def check_misread(name: str, fields: Fields, example: Example) -> None:
    """Look whether a format misreads a row.

    Args:
        name: of the format.
        fields: the row as it came.
        example: the example that the format makes of the row.

    Raises:
        FrameworkError: it does; the text has the remedy, and the format that takes the row as it is.
    """
    check_media(fields, f"format={name} learns the text only; data.on_bad_row=skip leaves such rows out")
    if example.text is None:
        _check_turns(name, example)
        return
    parent = next((key for key in TREE_FIELDS if key in fields), None)
    if parent is not None or isinstance(fields.get("role"), str):
        key = parent or "role"
        raise FrameworkError(
            f"has one message in 'text' and '{key}' beside it: write each path of the tree from its first message to "
            "an answer as one row of messages (role, content); format=text learns every message as plain text"
        )
    if "ts" in fields and "user" in fields:
        raise FrameworkError(f"is one message of {CHAT_ADVICE}; format=text learns every message as plain text")
    if mark := dialogue_text.rendered(example.text):
        raise FrameworkError(
            f"has text that a chat template rendered ({mark!r} in 'text'): {AS_MESSAGES}; format=text learns the "
            "questions too, and stops where this text does"
        )
    if names := dialogue_text.speakers(example.text):
        raise FrameworkError(
            f"has a whole dialogue in 'text' ({names[0]!r} and {names[1]!r}): {AS_MESSAGES}; format=text learns the "
            "questions too"
        )


def _check_turns(name: str, example: Example) -> None:
    """Look for parts of rendered text, and for pictures that are written as text."""
    for turn in (*example.messages, *example.rejected):
        text = turn.content
        if turn.role not in ("user", "assistant") or not text:
            continue
        answer = turn.role == "assistant"
        kind = "an answer" if answer else "a question"
        if mark := dialogue_text.half(text, answer=answer):
            raise FrameworkError(
                f"has {kind} that {'ends' if answer or mark.endswith(':') else 'begins'} with {mark!r}, as rendered "
                f"text does, and the model's own template is put around it: write what was said without it; "
                f"format={name} learns it as it is"
            )
        if (match := dialogue_text.MEDIA_ADDRESS.search(text)) or (
            not answer and "<" in text and (match := dialogue_text.IMAGE_MARK.search(text))
        ):
            raise FrameworkError(
                f"has {match[0].strip()[:20]!r} in {kind}, a picture or sound that no model reads here: "
                f"data.on_bad_row=skip leaves such rows out; format={name} learns it as text"
            )
