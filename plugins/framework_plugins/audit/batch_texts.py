"""The texts of a batch of rows: single answers, and the text around them, each with its rows."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from framework.api import Example, Message
from framework_plugins.audit.finding_draft import Numbers
from framework_plugins.lib.patterns import JoinedTexts, Pattern

EARLIER = " before the last answer"
REJECTED = " in the rejected answer"
AROUND = " in the system prompt, a thought, a call or a tool"
WORD_LENGTH = 24
"""Characters of a word, at most: what is longer is an identifier, or a script without spaces."""
# Scripts without spaces write a sentence as one run of letters: there only two letters or fewer are a word.
ONE_WORD = re.compile(
    r"[^\s{\[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff][^\s\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]*|\S{1,2}"
)
BLANK = re.compile(
    r"[\s\u00ad\u034f\u061c\u115f\u1160\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0]*"
)
"""White space, and characters that nobody sees: joiners, marks of direction, fillers."""
NO_JSON, JSON, BROKEN = range(3)
_JSON_LINE = re.compile(r"^(?:\S+ )?\{.*\\.*$", re.MULTILINE)
_ESCAPE = re.compile(r"\\(?:u(00[0-9a-f]{2})|(.))")
_SPACES = {"n": " ", "t": " ", "r": " "}


@dataclass(frozen=True)
class BatchTexts:
    """Some texts of a batch. Text `which[i]` belongs to row `rows[i]` of the batch.

    Attributes:
        texts: the texts, equal ones once where many rows share them.
        rows: the row of each text.
        which: numbers of the texts; as long as `rows`.
        place: a readable name of their place; empty for the question and the last answer.
    """

    texts: Sequence[str]
    rows: Numbers
    which: Numbers
    place: str = ""

    @classmethod
    def of(cls, texts: Sequence[str]) -> BatchTexts:
        """Take one text of each row."""
        numbers = np.arange(len(texts))
        return cls(texts, numbers, numbers)

    @classmethod
    def earlier(cls, texts: Sequence[str]) -> BatchTexts:
        """Take the answers before the last one by one."""
        parts = [(row, part) for row, text in enumerate(texts) if text for part in text.split(Example.SEPARATOR)]
        rows = np.array([row for row, _ in parts], np.int64)
        return cls([part for _, part in parts], rows, np.arange(len(parts)), EARLIER)

    @classmethod
    def around(cls, texts: Sequence[str]) -> BatchTexts:
        """Take the texts around the answers; a system prompt that many rows share is searched once."""
        # A thousand rows often have one system prompt, which would be searched a thousand times.
        numbers: dict[str, int] = {}
        pairs = [(row, numbers.setdefault(text, len(numbers))) for row, text in enumerate(texts) if text]
        rows, which = np.array(pairs, np.int64).reshape(-1, 2).T
        return cls([_unescape(text) for text in numbers], rows, which, AROUND)

    @classmethod
    def rejected(cls, texts: Sequence[str]) -> BatchTexts:
        """Take the answers that were not preferred, of rows that have one."""
        rows = np.array([row for row, text in enumerate(texts) if text], np.int64)
        return cls([text for text in texts if text], rows, np.arange(len(rows)), REJECTED)

    @functools.cached_property
    def joined(self) -> JoinedTexts:
        return JoinedTexts(self.texts)

    def match(self, pattern: Pattern) -> Numbers:
        """Return the rows that a pattern occurs in, in order."""
        return self._rows(self.joined.rows(pattern)) if self.texts else self.rows

    def select(self, condition: Callable[[str], bool]) -> Numbers:
        """Return the rows with a text that a condition holds for, in order."""
        return self._rows(index for index, text in enumerate(self.texts) if condition(text))

    def _rows(self, texts: Iterable[int]) -> Numbers:
        chosen = np.zeros(len(self.texts), dtype=bool)
        chosen[list(texts)] = True
        return np.unique(self.rows[chosen[self.which]])


def _unescape(text: str) -> str:
    """Undo the escapes in lines of JSON, so that a word after one begins where it begins; the lines stay lines."""
    if "\\" not in text:
        return text
    return _JSON_LINE.sub(lambda line: _ESCAPE.sub(_letter, line[0]), text)


def _letter(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return _SPACES.get(escape[2], escape[2])


def json_kind(answer: str) -> int:
    """Return the kind of JSON in an answer; numbers, words and calls do not count."""
    text = answer.lstrip()
    if not text.startswith(("{", "[")):
        return BROKEN if '{"' in text and Message.BEGIN_CALL not in text else NO_JSON
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return BROKEN
    return JSON


def is_word(text: str) -> bool:
    """Whether an answer, without white space around it, is a single word."""
    return len(text) <= WORD_LENGTH and not is_blank(text) and bool(ONE_WORD.fullmatch(text))


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return BLANK.fullmatch(text) is not None


def is_silent(example: Example) -> bool:
    """Whether an answer before the last neither says nor calls anything."""
    answers = [turn for turn in example.messages[:-1] if turn.role == "assistant" and turn.learned]
    return any(is_blank(turn.content) and not turn.tool_calls for turn in answers)
