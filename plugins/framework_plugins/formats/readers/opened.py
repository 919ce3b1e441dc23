"""A file opened for reading, unpacked on the way. What a library says of a damaged one becomes a message with the line.

with OpenFile(file) as opened:
    for line_number, line in opened.lines():
        ...
"""

from __future__ import annotations

import functools
import gzip
import io
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from framework_plugins.formats.encodings import UTF8, Recoded
from framework_plugins.formats.readers.find import DataFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK_BYTES = 1 << 16
MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO = 1 << 30, 50
"""Bytes that a packed table always may have, and how many times larger than packed: it is compressed inside already."""
ANY_WINDOW = {int(zstd.DecompressionParameter.window_log_max): 31}
"""Windows of zstd files up to the longest there is, 2 GiB; a library's own limit is 128 MiB."""
BOM = b"\xef\xbb\xbf"
BYTE_ORDER_MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    BOM: UTF8,
}
"""Byte order marks; the longer ones first, for one begins like another."""
OTHER_FILE_STARTS = {
    b"\x1f\x8b": "the file is packed with gzip; give it a name that ends with .gz",
    b"\x28\xb5\x2f\xfd": "the file is packed with zstd; give it a name that ends with .zst",
    b"PK\x03\x04": "the file is a zip archive, or a spreadsheet; unpack it, or save it as .csv",
    b"PAR1": "the file is Parquet; give it a name that ends with .parquet",
}
"""How files begin that are not text, and what to do."""
LFS_POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS left in place of the data."""
DAMAGE_ERRORS = (gzip.BadGzipFile, zlib.error, zstd.ZstdError)
PACKING_NAMES = {".gz": "gzip", ".zst": "zstd"}


class OpenFile:
    """An open file; `stream` gives its unpacked bytes, and `line` is how many lines of it have been read."""

    def __init__(self, file: DataFile) -> None:
        self.file = file
        self.line = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        try:
            raw = self._stack.enter_context(self.file.path.open("rb"))
            self._check(raw.peek(len(LFS_POINTER)))
            self.stream = self._stack.enter_context(_unpacking_stream(raw, self.file.packing))
            if self.file.is_text:
                self._check_text(self.stream.peek(max(map(len, OTHER_FILE_STARTS))))
                if not self.file.encoding.startswith(UTF8):
                    recoded = Recoded(self.stream, self.file.encoding, self.file.error)
                    self.stream = self._stack.enter_context(io.BufferedReader(recoded, CHUNK_BYTES))
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Close the file.

        Raises:
            FrameworkError: an error of the file system or of the packing ended the reading.
        """
        self._stack.close()
        if (problem := self._problem(error)) is not None:
            raise self.file.error(problem, self.line + 1 if self.line else "") from error

    def _check(self, head: bytes) -> None:
        if head.startswith(LFS_POINTER):
            raise self.file.error("the file only says where Git LFS keeps the data; fetch them: git lfs pull")

    def _check_text(self, head: bytes) -> None:
        encoding = self.file.encoding
        mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
        if mark and not encoding.startswith(BYTE_ORDER_MARKS[mark]):
            instead = (
                f"set data.encoding={BYTE_ORDER_MARKS[mark]}" if mark != BOM else f"leave out data.encoding={encoding}"
            )
            settings = {"data.encoding": BYTE_ORDER_MARKS[mark]}
            raise self.file.error(f"the text is {BYTE_ORDER_MARKS[mark].upper()}: {instead}", settings=settings)
        for beginning, problem in OTHER_FILE_STARTS.items():
            if head.startswith(beginning):
                raise self.file.error(problem)

    def _problem(self, error: BaseException | None) -> str | None:
        if isinstance(error, EOFError):
            return "the file ends too early: was it copied or downloaded in part?"
        if isinstance(error, DAMAGE_ERRORS):
            return f"not a valid {PACKING_NAMES[self.file.packing]} file ({error})"
        if isinstance(error, FileNotFoundError):
            return "the file is gone; it was there when the run started"
        if isinstance(error, OSError):
            return f"the file cannot be read ({error.strerror or error})"
        return None

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Give the lines with their numbers, ends included; only a line feed ends one.

        Raises:
            FrameworkError: one is longer than a row may be.
        """
        self.start()
        longest = self.file.longest
        for line_number, line in enumerate(iter(functools.partial(self.stream.readline, longest + 1), b""), start=1):
            self.line = line_number
            if len(line) > longest:
                raise self.file.too_long("the line", line_number)
            yield line_number, line

    def start(self) -> None:
        """Pass over a byte order mark."""
        if self.stream.peek(len(BOM)).startswith(BOM):
            self.stream.read(len(BOM))

    def seekable(self) -> BinaryIO:
        """Return the bytes as a file that can be sought in: a packed one is unpacked into a temporary file."""
        if not self.file.packing:
            return self.stream
        # Unbuffered: to close a file whose buffer a full disk refuses would raise again.
        unpacked: IO[bytes] = self._stack.enter_context(tempfile.TemporaryFile(buffering=0))  # noqa: SIM115 - closed with the rest
        limit = max(MIN_UNPACKED_BYTES, MAX_UNPACKED_RATIO * self.file.path.stat().st_size)
        while chunk := self.stream.read(CHUNK_BYTES):
            if unpacked.tell() + len(chunk) > limit:
                raise self.file.error(
                    f"the file unpacks to more than {limit:,} bytes, which no packed {self.file.kind} does"
                )
            try:
                while chunk:
                    chunk = chunk[unpacked.write(chunk) :]
            except OSError as error:
                folder = tempfile.gettempdir()
                raise self.file.error(
                    f"the file cannot be unpacked into {folder} ({error.strerror}); set TMPDIR=FOLDER on another disk"
                ) from error
        unpacked.seek(0)
        return cast("BinaryIO", unpacked)


def _unpacking_stream(raw: io.BufferedReader, packing: str) -> io.BufferedReader:
    if not packing or not raw.peek(1):  # an empty file has no rows, as gzip sees it too
        return raw
    inner = gzip.GzipFile(fileobj=raw) if packing == ".gz" else zstd.ZstdFile(raw, options=ANY_WINDOW)
    return io.BufferedReader(cast("io.RawIOBase", inner), CHUNK_BYTES)
