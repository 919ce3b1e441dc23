"""Streaming texts side by side: each is wrapped into a column, and the incomplete row is overwritten.

rich's `Live` draws all of its content again for each change, so an answer that is longer than the terminal is cut off,
or repeated in the scrollback. Here a complete row is never written again, so answers scroll like any text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from rich.cells import cell_len, chop_cells, set_cell_size

THINKING_AFTER = 8
"""Empty pieces after which it is said that a model thinks: fewer may be parts of one letter."""
THINKING = "thinking …"
COLUMN_GAP = " │ "
MIN_COLUMN_WIDTH = 24
"""Cells of the narrowest column; below that, texts are shown one after the other."""


def column_width(terminal_width: int, count: int) -> int:
    """Return the cells of each column in a terminal that is `terminal_width` cells wide; 0 if that is too narrow."""
    # One cell stays free: a terminal that fills its last one goes to the next line by itself.
    width = (terminal_width - 1 - len(COLUMN_GAP) * (count - 1)) // count
    return width if width >= MIN_COLUMN_WIDTH else 0


class Column:
    """A text, wrapped to lines of a number of cells; the last line still grows."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = []
        self.last = ""
        self.over = False
        self.silent = 0

    def add(self, piece: str) -> None:
        """Let the text grow; an empty piece says that the model is still at it."""
        self.silent += not piece
        self.last += piece
        while "\n" in self.last or cell_len(self.last) > self.width:
            head, _, remainder = self.last.partition("\n")
            if cell_len(head) > self.width:
                head = self._fitting(head)
                remainder = self.last[len(head) :].removeprefix(" ")
            self.lines.append(head)
            self.last = remainder

    def _fitting(self, text: str) -> str:
        """Return as much of a text as fits, up to a space if there is one."""
        fits = chop_cells(text, self.width)[0]
        words = text[: max(text.rfind(" ", 0, len(fits) + 1), 0)]
        return words if words.strip() else fits  # an indent alone is not a line

    def end(self) -> None:
        if self.last or not self.lines:
            self.lines.append(self.last)
        self.last, self.over = "", True

    def line(self, index: int) -> str:
        """Return a line, as far as it has come."""
        if index < len(self.lines):
            return self.lines[index]
        if not self.over and self.silent >= THINKING_AFTER and not self.lines and not self.last:
            return THINKING
        return self.last if index == len(self.lines) else ""


class TerminalColumns:
    """Columns in a terminal. No part of it that has been left is written again, so it scrolls like any text."""

    def __init__(self, out: IO[str], width: int, headings: Sequence[str]) -> None:
        self.out = out
        self.columns = [Column(width) for _ in headings]
        self._row = 0
        self.out.write(f"{self._joined(headings)}\n{self._joined(['─' * width] * len(headings))}\n")

    def add(self, index: int, piece: str) -> None:
        """Let the text of a column grow."""
        self.columns[index].add(piece)
        self._show()

    def end(self, index: int) -> None:
        """Say that the text of a column is whole."""
        self.columns[index].end()
        self._show()

    def _show(self) -> None:
        """Write the rows that will not change any more, then the one that may."""
        while self._settled():
            self.out.write(f"\r{self._row_text()}\n")
            self._row += 1
        if not all(column.over for column in self.columns):
            self.out.write(f"\r{self._row_text()}")
        self.out.flush()

    def _settled(self) -> bool:
        filled = [len(column.lines) > self._row for column in self.columns]
        return any(filled) and all(
            is_filled or column.over for is_filled, column in zip(filled, self.columns, strict=True)
        )

    def _row_text(self) -> str:
        return self._joined([column.line(self._row) for column in self.columns])

    def _joined(self, texts: Sequence[str]) -> str:
        cells = [set_cell_size(text, column.width) for text, column in zip(texts, self.columns, strict=True)]
        return COLUMN_GAP.join(cells)
