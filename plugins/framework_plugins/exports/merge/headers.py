"""The contents of safetensors files, from their headers: no torch, and no weights are read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from framework.api.errors import FrameworkError
from framework.api.schema import plain_name
from framework.api.text import summarize_error

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "F8_E4M3": 8, "F8_E5M2": 8, "BOOL": 8, "I8": 8, "U8": 8,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64,
}  # fmt: skip
"""Bits of an element, by the names that the format gives to its types."""
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
"""Types that weights are trained and merged in."""


@dataclass(frozen=True)
class Stored:
    """A tensor in a file: its name there, its type as the format calls it, and its shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return size(self.shape, self.dtype)


def size(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes of a tensor in a file."""
    return math.prod(shape) * BITS[dtype] // 8


def model_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights of a model, as transformers looks for them.

    Raises:
        FrameworkError: there are none, or not all that the index names.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        raise FrameworkError(f"{folder} holds no {SINGLE} and no {INDEX}: the weights are missing, or they are pickled")
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameworkError(
            f"{index} is not an index of safetensors files ({summarize_error(error)}): fetch it again"
        ) from error
    if outside := [name for name in names if not plain_name(name)]:
        raise FrameworkError(f"{index} names {outside[0]!r}, which is not in the folder: fetch the model again")
    if missing := [file.name for file in files if not file.is_file()]:
        raise FrameworkError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names: fetch the rest")
    return files


def stored(files: list[Path]) -> dict[str, Stored]:
    """Return the tensors of files by name, file by file.

    Raises:
        FrameworkError: a file is damaged, or two hold a tensor of the same name.
    """
    tensors: dict[str, Stored] = {}
    for file in files:
        for tensor in _stored(file):
            if tensor.name in tensors:
                raise FrameworkError(
                    f"{tensor.name} is in {tensors[tensor.name].file.name} and again in {file}: remove one"
                )
            tensors[tensor.name] = tensor
    return tensors


def _stored(file: Path) -> Iterator[Stored]:
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dict
                part = opened.get_slice(name)
                yield Stored(file, name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise damaged(file, error) from error


def damaged(file: Path, error: Exception) -> FrameworkError:
    """Say that a file cannot be read."""
    return FrameworkError(
        f"{file} is not a complete safetensors file ({summarize_error(error)}): fetch it or train it again"
    )
