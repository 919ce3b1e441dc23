"""JSON decoded value by value from a stream, so that an array of any size needs the memory of one item.

Text is added to a buffer until the next value is complete; what was decoded is dropped from it. ijson streams too, but
its errors have no line and column, it drops a duplicate key without a message, and it refuses the NaN that Python
writes.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from framework import FrameworkError
from framework_plugins.formats.encodings import not_utf8
from framework_plugins.formats.readers.opened import OpenFile

CHUNK_BYTES = 1 << 18
"""Bytes that are read at a time; more if one value is longer."""
MAX_TOKEN_CHARS = 32
"""An error so close to the end of the buffer may be of a number, a word or an escape that was cut in two."""
SPACE = re.compile(r"[ \t\n\r]+")


class Decoder:
    """JSON text -> values. `problem` is the problem of a key in the last value; empty if there is none."""

    def __init__(self) -> None:
        self.problem = ""
        self._json = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) != len(pairs):
            twice = first_duplicate(key for key, _ in pairs)
            self.problem = f"the key '{twice}' appears twice in one object"
        if not "".join(fields).isascii():
            self._check(fields)
        return fields

    def _check(self, keys: Iterable[str]) -> None:
        """Look for half of a surrogate pair, which JSON may hold, and a file may not."""
        for key in keys:
            try:
                key.encode()
            except UnicodeEncodeError as error:
                self.problem = f"the key {key!a} is not valid text: {error.reason}"

    def whole(self, text: str) -> Any:
        """Decode a text that is one value."""
        self.problem = ""
        return self._json.decode(text)

    def next(self, text: str, at: int) -> tuple[Any, int]:
        """Decode the value at a position, and return where it ends."""
        self.problem = ""
        return self._json.raw_decode(text, at)


def first_duplicate(names: Iterable[str]) -> str:
    """Return the first name that was there before; empty if there is none."""
    seen = set[str]()
    return next((name for name in names if name in seen or seen.add(name)), "")  # type: ignore[func-returns-value]


def decoder_limit(error: ValueError | RecursionError) -> str:
    """Return the limit of Python's decoder that a valid JSON text exceeds."""
    return "nested too deeply" if isinstance(error, RecursionError) else "a number with thousands of digits"


class JsonStream:
    """The values and signs of a JSON text, one after the other."""

    def __init__(self, opened: OpenFile) -> None:
        self.decoder = Decoder()
        self._opened = opened
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._text, self._at, self._ended = "", 0, False
        self._column = 0  # characters of its line before the text of the buffer
        opened.start()

    def peek(self) -> str:
        """Return the next character that is not white space; empty at the end."""
        while True:
            if space := SPACE.match(self._text, self._at):
                self._at = space.end()
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def take(self, signs: str) -> str:
        """Pass over the next sign, one of `signs`, and return it.

        Raises:
            FrameworkError: it is another one.
        """
        sign = self.peek()
        if not sign or sign not in signs:
            expected = " or ".join(f"'{sign}'" for sign in signs)
            raise self._refusal(f"{expected} expected", self._at)
        self._at += 1
        return sign

    def value(self) -> Any:
        """Decode the next value.

        Raises:
            FrameworkError: it is not JSON, or not UTF-8.
        """
        self.peek()
        while True:
            try:
                value, end = self.decoder.next(self._text, self._at)
            except json.JSONDecodeError as error:
                if self._ended or not self._is_cut(error):
                    raise self._refusal(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise self._refusal(decoder_limit(error), self._at) from error
            else:
                if self._ended or end < len(self._text) - MAX_TOKEN_CHARS or isinstance(value, str | list | dict):
                    self._at = end
                    return value
            self._fill()

    def items(self) -> Iterator[Any]:
        """Decode the items of the next value, an array, one by one."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def fields(self) -> Iterator[str]:
        """Give the names of the next value, an object, one by one; whoever asks takes the value of each."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() != '"':
                self.take('"')
            name = self.value()
            self.take(":")
            yield name
            if self.take(",}") == "}":
                return

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises:
            FrameworkError: something does.
        """
        if self.peek():
            raise self._refusal("there is text after its end", self._at)

    def _is_cut(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - MAX_TOKEN_CHARS

    def _fill(self) -> None:
        """Drop the decoded text, and at least double the rest."""
        consumed = self._text[: self._at]
        lines = consumed.count("\n")
        self._opened.line += lines
        self._column = len(consumed) - consumed.rfind("\n") - 1 if lines else self._column + len(consumed)
        remaining = self._text[self._at :]
        if len(remaining) > self._opened.file.longest:
            raise self._opened.file.too_long("a value", self._opened.line + 1)
        chunk = self._opened.stream.read(max(CHUNK_BYTES, len(remaining)))
        self._ended = not chunk
        try:
            self._text, self._at = remaining + self._utf8.decode(chunk, final=self._ended), 0
        except UnicodeDecodeError as error:
            line = self._opened.line + remaining.count("\n") + error.object[: error.start].count(b"\n") + 1
            raise self._opened.file.error(not_utf8(error), line) from error

    def _refusal(self, problem: str, at: int) -> FrameworkError:
        before = self._text[:at]
        lines = before.count("\n")
        column = at - before.rfind("\n") if lines else self._column + at + 1
        early = "; the file ends here: was it copied or downloaded in part?" if self._at_end(at) else ""
        return self._opened.file.error(
            f"not valid JSON: {problem} at column {column}{early}", self._opened.line + lines + 1
        )

    def _at_end(self, at: int) -> bool:
        return self._ended and not self._text[at:].strip()
