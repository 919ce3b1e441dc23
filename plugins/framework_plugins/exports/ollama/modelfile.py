"""Ollama's Modelfile: one instruction after the other, values in quotes where they need them.

Ollama ends a value in triple quotes at the first line that ends with three quotes, knows no escapes, and drops
characters that cannot be printed. A value for which that would change something is refused here.
"""

from __future__ import annotations

from collections.abc import Iterable

from framework import FrameworkError

TRIPLE = '"""'
WHITE = " \t\r\n"


class QuotingError(FrameworkError):
    """A value that a Modelfile cannot hold."""


def modelfile(comments: Iterable[str], instructions: Iterable[tuple[str, str]]) -> str:
    """Write a Modelfile.

    Args:
        comments: stand at the top, a line each.
        instructions: name and value, `("PARAMETER stop", "<|im_end|>")`.

    Raises:
        QuotingError: it cannot hold a value.
    """
    lines = [f"# {' '.join(comment.split())}" for comment in comments]
    return "\n".join([*lines, *(f"{name} {quote(value)}" for name, value in instructions)]) + "\n"


def quote(value: str) -> str:
    """Return a value as it stands in a Modelfile.

    Raises:
        QuotingError: no way to write it gives it back.
    """
    if dropped := sorted({letter for letter in value if not letter.isprintable() and letter not in WHITE}):
        raise QuotingError(f"a Modelfile cannot hold the character {dropped[0]!a}, which Ollama drops: take it out")
    if value and not set(value) & set('"\r\n\t #') and value.strip() == value:
        return value
    if '"' not in value:
        return f'"{value}"'
    if _ends_early(value):
        raise QuotingError('a Modelfile cannot hold three quotes (""") at the end of a line: take them out')
    return f"{TRIPLE}{value}{TRIPLE}"


def unquotable(value: str) -> str:
    """Say why a Modelfile cannot hold a value; empty where it can."""
    try:
        quote(value)
    except QuotingError as error:
        return str(error)
    return ""


def _ends_early(value: str) -> bool:
    """Whether Ollama would take a line within the value for its end."""
    opened = TRIPLE + value
    starts = [number for number, letter in enumerate(opened) if letter in "\r\n"]
    before = [opened[:number].rstrip() for number in starts]
    return any(len(text) >= 2 * len(TRIPLE) and text.endswith(TRIPLE) for text in before)
