"""Encodings of text by their names in Python, and a stream of any of them as one in UTF-8."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable
from encodings.aliases import aliases
from typing import BinaryIO

from framework import FrameworkError
from framework.api import nearest

UTF8 = "utf-8"
SUCH_AS = "such as utf-8, cp1252 (Excel and Windows), latin-1, utf-16, shift_jis"
CHUNK = 1 << 16


def codec(name: str, setting: str) -> str:
    """Return Python's own name of an encoding; `setting` is where it was given.

    Raises:
        FrameworkError: Python has no such encoding of text.
    """
    try:
        "a".encode(name)  # a codec that is none of text raises LookupError
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        close = nearest(name.lower().replace("-", "_"), {*aliases, *aliases.values()})
        hint = f" Did you mean '{codecs.lookup(close[0]).name}'?" if close else ""
        valid = f"Valid are Python's names, {SUCH_AS}."
        raise FrameworkError(f"{setting}={name}: unknown encoding.{hint} {valid}") from error


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say that a text is not UTF-8, and what to set."""
    fix = "if Excel or Windows wrote it, set data.encoding=cp1252"
    try:
        error.object.decode("cp1252")
    except UnicodeDecodeError:
        fix = "name its encoding, such as data.encoding=cp1250 or data.encoding=shift_jis"
    return f"not UTF-8 ({error.reason}): {fix}"


class Recoded(io.RawIOBase):
    """A text in UTF-8, read from a stream in another encoding; `refusal` makes an error of a problem and a line."""

    def __init__(self, source: BinaryIO, encoding: str, refusal: Callable[[str, int], FrameworkError]) -> None:
        self._source, self._encoding, self._refusal = source, encoding, refusal
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line, self._ready, self._ended = 1, b"", False

    def readable(self) -> bool:
        """Whether it can be read: a buffer asks."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # `Buffer`, from Python 3.12 on
        """Fill a buffer.

        Raises:
            FrameworkError: the text is not of this encoding.
        """
        while not self._ready and not self._ended:
            chunk = self._source.read(CHUNK)
            self._ended = not chunk
            try:
                text = self._decoder.decode(chunk, final=self._ended)
                self._ready = text.encode()
            except UnicodeError as error:
                before = error.object[: error.start].count(b"\n") if isinstance(error, UnicodeDecodeError) else 0
                reason = error.reason if isinstance(error, UnicodeDecodeError) else error
                raise self._refusal(
                    f"not {self._encoding} ({reason}): set data.encoding to another one", self._line + before
                ) from error
            self._line += text.count("\n")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size
