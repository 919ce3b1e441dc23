"""Patterns that are searched for in many texts at once.

A pattern is tried only in lines that hold one of its marks, plain pieces of text: finding those takes a tenth of the
time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

SEPARATOR = "\n"


def always(match: re.Match[str]) -> bool:  # noqa: ARG001 - as other conditions
    """Accept every match."""
    return True


@dataclass(frozen=True)
class Pattern:
    """A pattern of a check.

    Attributes:
        check: the name of the finding, as `audit.standard.ignore` has it.
        kind: a readable name of a match.
        marks: one of them is in every match; of `small` patterns in lower case.
        regex: the pattern; it never matches across the end of a line.
        counts: a closer look at a match.
        small: whether the texts are searched in lower case.
        answers: whether only answers are searched.
        opening: whether it counts at the beginning of a text only.
    """

    check: str
    kind: str
    marks: tuple[str, ...]
    regex: re.Pattern[str]
    counts: Callable[[re.Match[str]], bool] = field(default=always)
    small: bool = False
    answers: bool = False
    opening: bool = False


class JoinedTexts:
    """Many texts joined into one, with the row of each position."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.text = SEPARATOR.join(texts)
        self.small = self.text.lower()
        self._ends = np.cumsum([len(text) + 1 for text in texts])
        # Two texts, since `lower` may change their length; patterns with small letters search the second.
        self._small_ends = self._ends
        if len(self.small) != len(self.text):  # a letter or two become two in small: İ
            self._small_ends = np.cumsum([len(text.lower()) + 1 for text in texts])

    def rows(self, pattern: Pattern) -> Iterator[int]:
        """Give the rows that a pattern occurs in."""
        text, ends = (self.small, self._small_ends) if pattern.small else (self.text, self._ends)
        lines = _lines(text, pattern.marks) if pattern.marks else [(0, len(text))]
        matches = (match for start, end in lines for match in pattern.regex.finditer(text, start, end))
        places = np.array([match.start() for match in matches if pattern.counts(match)], np.int64)
        rows = np.searchsorted(ends, places, side="right")
        if pattern.opening:
            rows = rows[places == np.concatenate([[0], ends])[rows]]
        yield from map(int, np.unique(rows))


def _lines(text: str, marks: Sequence[str]) -> set[tuple[int, int]]:
    """Return where the lines with a mark begin and end."""
    lines = set()
    for mark in marks:
        position = text.find(mark)
        while position >= 0:
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            lines.add((text.rfind("\n", 0, position) + 1, end))
            # On in the next line: this one is searched whole.
            position = text.find(mark, end)
    return lines
