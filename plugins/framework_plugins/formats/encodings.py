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
EXAMPLES = "such as utf-8, cp1252 (Excel and Windows), latin-1, utf-16, shift_jis"
CHUNK_BYTES = 1 << 16


def codec(name: str, setting: str) -> str:
    """Return Python's own name of an encoding; `setting` is where it was given.

    Raises:
        FrameworkError: Python has no such encoding of text.
    """
    try:
        # `codecs.lookup` also finds codecs of bytes, such as base64.
        "a".encode(name)  # a codec that is none of text raises LookupError
        return codecs.lookup(name).name
    except (LookupError, ValueError) as error:
        close = nearest(name.lower().replace("-", "_"), {*aliases, *aliases.values()})
        hint = f" Did you mean '{codecs.lookup(close[0]).name}'?" if close else ""
        valid = f"Valid are Python's names, {EXAMPLES}."
        raise FrameworkError(f"{setting}={name}: unknown encoding.{hint} {valid}") from error


def not_utf8(error: UnicodeDecodeError) -> str:
    """Say that a text is not UTF-8, and what to set."""
    fix = "if Excel or Windows wrote it, set data.encoding=cp1252"
    if not encoding_of(error):
        fix = "name its encoding, such as data.encoding=cp1250 or data.encoding=shift_jis"
    return f"not UTF-8 ({error.reason}): {fix}"


def encoding_of(error: UnicodeDecodeError) -> dict[str, str]:
    """Return the setting that may read a text which is not UTF-8; empty if no usual encoding reads it."""
    try:
        error.object.decode("cp1252")
    except UnicodeDecodeError:
        return {}
    return {"data.encoding": "cp1252"}


class Recoded(io.RawIOBase):
    """A text in UTF-8, read from a stream in another encoding; `refusal` makes an error of a problem and a line."""

    def __init__(self, source: BinaryIO, encoding: str, refusal: Callable[[str, int], FrameworkError]) -> None:
        self._source, self._encoding, self._refusal = source, encoding, refusal
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._line, self._ready, self._ended, self._checked_utf8 = 1, b"", False, False

    def readable(self) -> bool:
        """Whether it can be read: a buffer asks."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # `Buffer`, from Python 3.12 on
        """Fill a buffer.

        Raises:
            FrameworkError: the text is not of this encoding.
        """
        while not self._ready and not self._ended:
            chunk = self._source.read(CHUNK_BYTES)
            self._ended = not chunk
            try:
                text = self._decoder.decode(chunk, final=self._ended)
                self._ready = text.encode()
            except UnicodeError as error:
                # Lines of the text so far, and those of this chunk before the fault.
                before = error.object[: error.start].count(b"\n") if isinstance(error, UnicodeDecodeError) else 0
                reason = error.reason if isinstance(error, UnicodeDecodeError) else error
                fix = (
                    "leave data.encoding out, the text is UTF-8"
                    if _is_utf8(chunk)
                    else "set data.encoding to another one"
                )
                raise self._refusal(f"not {self._encoding} ({reason}): {fix}", self._line + before) from error
            if not self._checked_utf8 and not chunk.isascii():
                self._checked_utf8 = True
                if not self._encoding.startswith("utf") and _is_utf8(chunk):
                    problem = f"the text is UTF-8, not {self._encoding}: leave out data.encoding={self._encoding}"
                    raise self._refusal(problem, self._line)
            self._line += text.count("\n")
        size = min(len(buffer), len(self._ready))
        buffer[:size], self._ready = self._ready[:size], self._ready[size:]
        return size


def _is_utf8(chunk: bytes) -> bool:
    """Whether the bytes of a text are UTF-8; the last character may be cut."""
    try:
        codecs.getincrementaldecoder(UTF8)().decode(chunk)
    except UnicodeDecodeError:
        return False
    return True
