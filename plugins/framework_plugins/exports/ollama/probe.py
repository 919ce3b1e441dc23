"""The text that a chat template writes around the messages, found by rendering unique words.

The template is a black box here: it is asked with conversations of marked messages, and the texts between the marks are
what it adds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from framework.api.errors import FrameworkError
from framework.api.records import Message

Render = Callable[[Sequence[Message]], str]
"""Writes a conversation as the model is asked it, up to where the answer begins.

Raises:
    FrameworkError: the template refuses these turns.
"""
ROLES = {"s": "system", "u": "user", "a": "assistant"}


class NoTemplateError(FrameworkError):
    """A chat template for which no TEMPLATE can be written that is proven to give the same text."""


@dataclass(frozen=True)
class Probed:
    """A conversation of marked messages, rendered.

    Attributes:
        texts: what stands before the first mark, between each and the next, and after the last.
        order: the messages in the order in which they were found, by their numbers in the conversation.
    """

    texts: tuple[str, ...]
    order: tuple[int, ...]


def conversation(roles: str, words: Callable[[str, int], str]) -> list[Message]:
    """Make a conversation.

    Args:
        roles: a letter for each turn, `s`, `u` or `a`.
        words: what is said, by role and number of the turn.
    """
    return [Message(ROLES[letter], words(ROLES[letter], number)) for number, letter in enumerate(roles)]


def mark(role: str, number: int) -> str:
    """Return a word that no template writes by itself."""
    return f"Zq{role.capitalize()}{'abcdefgh'[number]}qZ"


def named(roles: str) -> str:
    """Name a conversation in a message, `system, user`."""
    return ", ".join(ROLES[letter] for letter in roles)


def probe(render: Render, roles: str) -> Probed:
    """Render a conversation of marks and take it apart.

    Raises:
        NoTemplateError: a message is missing, or stands in the text more than once.
        FrameworkError: the template refuses these turns.
    """
    messages = conversation(roles, mark)
    text = render(messages)
    for message in messages:
        if (count := text.count(message.content)) != 1:
            reason = f"it writes a message of the {message.role} {count} times ({named(roles)})"
            raise NoTemplateError(reason)
    order = sorted(range(len(messages)), key=lambda number: text.index(messages[number].content))
    texts = []
    for number in order:
        before, _, text = text.partition(messages[number].content)
        texts.append(before)
    return Probed((*texts, text), tuple(order))


def tried(render: Render, roles: str) -> Probed | None:
    """Probe turns that a template may refuse; None where it does, or where it leaves a message out."""
    try:
        return probe(render, roles)
    except FrameworkError:
        return None


def common_start(*texts: str) -> str:
    """Return the longest text with which all begin."""
    return os.path.commonprefix(texts)  # noqa: RUF071 - texts, not paths


def common_end(*texts: str) -> str:
    """Return the longest text with which all end."""
    return os.path.commonprefix([text[::-1] for text in texts])[::-1]  # noqa: RUF071 - as above
