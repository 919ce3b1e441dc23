"""The metadata of a GGUF file, without its tensors and without a library.

The file begins with `GGUF`, a version, the number of tensors and of entries, and the entries: a name, a type, a value
(github.com/ggml-org/ggml/blob/master/docs/gguf.md). Lists, the vocabulary among them, are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from framework.api.errors import FrameworkError
from framework.api.text import summarize_error

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
"""How `struct` calls the types of numbers."""
TEXT, LIST = 8, 9
OLDEST = 2
"""The first version that counts in 64 bits."""
Value = str | int | float | bool


def read(file: Path) -> Mapping[str, Value]:
    """Return the entries of a GGUF file by name, but for lists.

    Raises:
        FrameworkError: it is none, or it is damaged.
    """
    try:
        with file.open("rb") as opened:
            return dict(_entries(opened))
    except (OSError, struct.error, UnicodeDecodeError, KeyError, ValueError) as error:
        message = f"{file} is no whole GGUF file ({summarize_error(error)}): make it again"
        raise FrameworkError(message) from error


def _entries(file: BinaryIO) -> Iterator[tuple[str, Value]]:
    magic, version, _, count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version < OLDEST:
        message = f"it begins with {magic!r}, version {version}"
        raise ValueError(message)
    for _ in range(count):
        name = _text(file)
        (kind,) = struct.unpack("<I", file.read(4))
        if kind == LIST:
            _pass_list(file)
        else:
            yield name, _text(file) if kind == TEXT else _number(file, kind)


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode()


def _number(file: BinaryIO, kind: int) -> int | float | bool:
    form = f"<{NUMBERS[kind]}"
    (value,) = struct.unpack(form, file.read(struct.calcsize(form)))
    number: int | float | bool = value
    return number


def _pass_list(file: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", file.read(12))
    if kind == TEXT:
        for _ in range(count):
            (length,) = struct.unpack("<Q", file.read(8))
            file.seek(length, 1)
    else:
        file.seek(count * struct.calcsize(f"<{NUMBERS[kind]}"), 1)
