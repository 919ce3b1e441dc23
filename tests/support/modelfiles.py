"""A Modelfile as Ollama reads it, without Ollama."""

from __future__ import annotations


def parsed(modelfile: str) -> list[tuple[str, str]]:
    """Read a Modelfile by Ollama's rules: the instructions with their values, quotes taken off.

    A value ends with its line, unless it begins with quotes that are not closed yet. Comments are on lines of their
    own. Characters that cannot be printed are dropped.
    """
    found: list[tuple[str, str]] = []
    lines = modelfile.split("\n")
    while lines:
        line = lines.pop(0)
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        if name == "PARAMETER":
            which, _, value = value.partition(" ")
            name = f"{name} {which}"
        while (closed := _unquoted(value.strip())) is None:
            value += "\n" + lines.pop(0)
        found.append((name, "".join(letter for letter in closed if letter.isprintable() or letter in "\n\t\r")))
    return found


def _unquoted(value: str) -> str | None:
    """Return what is in quotes; None if they are still open."""
    for quotes in ('"""', '"'):
        if value.startswith(quotes):
            closed = len(value) >= 2 * len(quotes) and value.endswith(quotes)
            return value[len(quotes) : -len(quotes)] if closed else None
    return value
