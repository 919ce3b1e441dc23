"""Files that are there whole, or not at all."""

from __future__ import annotations

from pathlib import Path

HALF = ".part"
"""How the name of a file ends that is being written."""


def write_whole(file: Path, text: str, *, errors: str = "strict", newline: str | None = None) -> None:
    """Write a text as UTF-8 in the place of an earlier one; whoever reads meanwhile, or after a kill, has that one.

    Args:
        file: what to write; its folder is there.
        text: all of it.
        errors: what becomes of letters that UTF-8 has not, as for `open`.
        newline: how lines end, as for `open`.

    Raises:
        OSError: it cannot be written.
    """
    half = file.with_name(file.name + HALF)
    half.write_text(text, encoding="utf-8", errors=errors, newline=newline)
    half.replace(file)
