"""Writes safetensors files piece by piece, so that no more than a piece of one tensor is in memory.

The library's own writer takes all tensors of a file at once, and copies them. The format is plain: the length of a
header, the header as JSON, the bytes of each tensor (github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from framework_plugins.exports.merge.headers import BITS, INDEX, SINGLE, Stored

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Types by the names that the format gives to them."""
ALIGNMENT = 8


def write(
    folder: Path, tensors: Sequence[Stored], pieces: Callable[[Stored], Iterable[torch.Tensor]], limit: int
) -> None:
    """Write tensors into files of at most `limit` bytes each, unless one tensor alone is larger, and their index.

    Args:
        folder: takes the files.
        tensors: name, type and shape of each; the file in them is not looked at. The order is kept where it can be.
        pieces: gives a tensor, piece after piece along its first dimension, in its type.
        limit: bytes of tensors in a file.
    """
    shards = list(_shards(tensors, limit))
    names = (
        [SINGLE] if len(shards) == 1 else [f"model-{n:05}-of-{len(shards):05}.safetensors" for n in _from_one(shards)]
    )
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("wb") as file:
            _write_file(file, shard, pieces)
    if len(shards) > 1:
        places = {tensor.name: name for name, shard in zip(names, shards, strict=True) for tensor in shard}
        index = {"metadata": {"total_size": sum(tensor.bytes for tensor in tensors)}, "weight_map": places}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _from_one(shards: Sequence[Any]) -> Iterator[int]:
    yield from range(1, len(shards) + 1)


def _shards(tensors: Sequence[Stored], limit: int) -> Iterator[list[Stored]]:
    shard: list[Stored] = []
    for tensor in tensors:
        if shard and sum(each.bytes for each in shard) + tensor.bytes > limit:
            yield shard
            shard = []
        shard.append(tensor)
    yield shard


def _write_file(file: BinaryIO, shard: Sequence[Stored], pieces: Callable[[Stored], Iterable[torch.Tensor]]) -> None:
    # Larger elements first, as the library does: then each tensor begins at a multiple of its element's size.
    ordered = sorted(shard, key=lambda tensor: -BITS[tensor.dtype])
    header = json.dumps(_header(ordered), separators=(",", ":")).encode()
    header += b" " * (-len(header) % ALIGNMENT)
    file.write(len(header).to_bytes(8, "little") + header)
    for tensor in ordered:
        start = file.tell()
        for piece in pieces(tensor):
            _write_bytes(file, piece)
        if file.tell() - start != tensor.bytes:
            raise AssertionError(f"{tensor.name} has {file.tell() - start} bytes, not {tensor.bytes}")


def _write_bytes(file: BinaryIO, piece: torch.Tensor) -> None:
    raw: Any = piece.contiguous().reshape(-1).view(torch.uint8).numpy()
    file.write(raw.data)


def _header(ordered: Sequence[Stored]) -> Mapping[str, Any]:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for tensor in ordered:
        end = position + tensor.bytes
        header[tensor.name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [position, end]}
        position = end
    return header
