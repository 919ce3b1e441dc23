"""Writes safetensors files chunk by chunk.

The library's own writer takes all tensors of a file at once, and copies them; here only a chunk of one tensor is in
memory. The format is plain: the length of a header, the header as JSON, the bytes of each tensor
(github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from framework_plugins.lib.weight_files import DTYPE_BITS, INDEX_FILE, SINGLE_FILE, StoredTensor

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
