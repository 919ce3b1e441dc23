"""Reads the headers of safetensors files, and writes such files chunk by chunk.

The library's own writer takes all tensors of a file at once, and copies them; here only a chunk of one tensor is in
memory. The format is plain: the length of a header, the header as JSON, the bytes of each tensor
(github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open

from framework import FrameworkError
from framework.api import plain_name, summarize_error

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "F8_E4M3": 8, "F8_E5M2": 8, "BOOL": 8, "I8": 8, "U8": 8,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64,
}  # fmt: skip
"""Bits of an element, by the names that the format gives to its types."""
FLOAT_DTYPES = frozenset({"F16", "BF16", "F32", "F64"})
"""Types that weights are trained and merged in."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its name there, its type as the format calls it, and its shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return tensor_bytes(self.shape, self.dtype)


def tensor_bytes(shape: tuple[int, ...], dtype: str) -> int:
    """Return the bytes of a tensor in a file."""
    return math.prod(shape) * DTYPE_BITS[dtype] // 8


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold the weights of a model, as transformers looks for them.

    Raises:
        FrameworkError: there are none, or not all that the index names.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    index = folder / INDEX_FILE
    if not index.is_file():
        raise FrameworkError(
            f"{folder} holds no {SINGLE_FILE} and no {INDEX_FILE}: the weights are missing, or they are pickled"
        )
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        files = [folder / name for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FrameworkError(
            f"{index} is not an index of safetensors files ({summarize_error(error)}): fetch it again"
        ) from error
    if outside := [name for name in names if not plain_name(name)]:
        raise FrameworkError(f"{index} names {outside[0]!r}, which is not in the folder: fetch the model again")
    if missing_files := [file.name for file in files if not file.is_file()]:
        raise FrameworkError(f"{folder} lacks {', '.join(missing_files)}, which {INDEX_FILE} names: fetch the rest")
    return files


def read_headers(files: list[Path]) -> dict[str, StoredTensor]:
    """Return the tensors of files by name, file by file.

    Raises:
        FrameworkError: a file is damaged, or two hold a tensor of the same name.
    """
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for tensor in _read_header(file):
            if tensor.name in tensors:
                raise FrameworkError(
                    f"{tensor.name} is in {tensors[tensor.name].file.name} and again in {file}: remove one"
                )
            tensors[tensor.name] = tensor
    return tensors


def _read_header(file: Path) -> Iterator[StoredTensor]:
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is not a dict
                part = opened.get_slice(name)
                yield StoredTensor(file, name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError) as error:
        raise damaged_file(file, error) from error


def damaged_file(file: Path, error: Exception) -> FrameworkError:
    """Say that a file cannot be read."""
    return FrameworkError(
        f"{file} is not a complete safetensors file ({summarize_error(error)}): fetch it or train it again"
    )


TORCH_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types by the names that the format gives to them."""
ALIGNMENT = 8


# The safetensors library writes a file only from all its tensors at once (decision 0032).
def write_shards(
    folder: Path, tensors: Sequence[StoredTensor], chunks: Callable[[StoredTensor], Iterable[torch.Tensor]], limit: int
) -> None:
    """Write tensors into files of at most `limit` bytes each, unless a single tensor is larger, and their index.

    Args:
        folder: takes the files.
        tensors: name, type and shape of each; the file in them is not looked at. The order is kept if it can be.
        chunks: gives a tensor, chunk after chunk along its first dimension, in its type.
        limit: bytes of tensors in a file.
    """
    shards = list(_shards(tensors, limit))
    names = [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [SINGLE_FILE]
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            _write_file(file, shard, chunks)
    if len(shards) > 1:
        places = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": sum(tensor.bytes for tensor in tensors)}, "weight_map": places}
        (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_without_data(file: Path, shapes: Mapping[str, tuple[int, ...]], dtype: str = "BF16") -> None:
    """Write a file with a header and, in place of the tensors, a hole, which takes no room on a disk."""
    tensors = [StoredTensor(file, name, dtype, shape) for name, shape in shapes.items()]
    header = _header_bytes(tensors)
    file.write_bytes(header)
    os.truncate(file, len(header) + sum(tensor.bytes for tensor in tensors))


def _shards(tensors: Sequence[StoredTensor], limit: int) -> Iterator[list[StoredTensor]]:
    shard: list[StoredTensor] = []
    for tensor in tensors:
        if shard and sum(member.bytes for member in shard) + tensor.bytes > limit:
            yield shard
            shard = []
        shard.append(tensor)
    yield shard


def _write_file(
    file: BinaryIO, shard: Sequence[StoredTensor], chunks: Callable[[StoredTensor], Iterable[torch.Tensor]]
) -> None:
    # Larger elements first, as the library does: then each tensor begins at a multiple of its element's size.
    ordered = sorted(shard, key=lambda tensor: -DTYPE_BITS[tensor.dtype])
    file.write(_header_bytes(ordered))
    for tensor in ordered:
        start = file.tell()
        for chunk in chunks(tensor):
            _write_chunk(file, chunk)
        if file.tell() - start != tensor.bytes:
            raise AssertionError(f"{tensor.name} has {file.tell() - start} bytes, not {tensor.bytes}")


def _write_chunk(file: BinaryIO, chunk: torch.Tensor) -> None:
    raw: Any = chunk.contiguous().reshape(-1).view(torch.uint8).numpy()
    file.write(raw.data)


def _header_bytes(ordered: Sequence[StoredTensor]) -> bytes:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in ordered:
        end = position + tensor.bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
