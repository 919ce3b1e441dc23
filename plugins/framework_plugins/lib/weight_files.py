"""The files that hold weights, and the tensors in them by their headers. Without torch, so a plan reads them."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from framework import FrameworkError
from framework.api import plain_name, summarize_error
from framework_plugins.lib.links import refuse_links

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
DOWNLOAD_AGAIN = "Download or convert the model again; if its config.json was edited, restore it"
NAMES_SHOWN = 3
"""Names of files or tensors that a message gives."""
DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8, "F8_E4M3": 8, "F8_E5M2": 8, "BOOL": 8, "I8": 8, "U8": 8,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "F32": 32, "I32": 32, "U32": 32, "F64": 64, "I64": 64, "U64": 64,
    "C64": 64,
}  # fmt: skip
"""Bits of an element, by the names that the format gives to its types."""
FLOAT_DTYPES = frozenset({"F16", "BF16", "F32", "F64"})
"""Types that weights are trained and merged in; fp8 has scales beside it, and only a quantization knows them."""
MXFP4 = "mxfp4"
"""What transformers calls the four bits in which gpt-oss was published."""
MXFP4_PARTS = ("_blocks", "_scales")
"""What the names of its two tensors in a file end with: two numbers in a byte, and a power of two for each 32."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file: its name there, its type as the format calls it, and its shape.

    Experts in MXFP4 are stored as `parts`, blocks and scales, from which the numbers are computed.
    """

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[StoredTensor, ...] = ()

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * DTYPE_BITS[self.dtype] // 8


def check_inside(folder: Path, setting: str) -> None:
    """Make sure that a folder of weights reads only files of that folder; weights may be links to files elsewhere.

    Raises:
        FrameworkError: an index names a file elsewhere, or is none, or a link leads there. `setting` names the folder.
    """
    refuse_links(folder, setting, besides=".safetensors")
    for index in folder.glob("*.safetensors.index.json"):
        try:
            content = json.loads(index.read_text(encoding="utf-8"))
            names = content["weight_map"].values()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OSError) as error:
            raise FrameworkError(
                f"{setting}: {index.name} is not an index of weights: {summarize_error(error)}"
            ) from error
        if outside := [name for name in names if not isinstance(name, str) or not plain_name(name)]:
            raise FrameworkError(
                f"{setting}: {index.name} names the file {outside[0]!r}, which is not in the folder: fetch the model "
                "again"
            )
        if index.name == INDEX_FILE and not isinstance(content.get("metadata"), Mapping):
            raise FrameworkError(
                f'{setting}: {index.name} has no "metadata", which transformers reads: restore the file from its '
                'source, or add "metadata": {} to it'
            )
        if not names:
            raise FrameworkError(f"{setting}: {index.name} names no file in weight_map: fetch the model again")


def weight_files(folder: Path, label: str = "") -> list[Path]:
    """Return the files that hold the weights of a model, as transformers looks for them.

    Args:
        folder: with the files.
        label: begins a message; empty: the folder.

    Raises:
        FrameworkError: there are none, or not all that the index names.
    """
    label = label or str(folder)
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    if not (folder / INDEX_FILE).is_file():
        raise FrameworkError(f"{label} has no {SINGLE_FILE} and no {INDEX_FILE}: {DOWNLOAD_AGAIN}")
    check_inside(folder, label)
    names = sorted(set(json.loads((folder / INDEX_FILE).read_text(encoding="utf-8"))["weight_map"].values()))
    files = [folder / name for name in names]
    if missing_files := [file.name for file in files if not file.is_file()]:
        raise FrameworkError(f"{label} lacks {list_names(missing_files)}, which {INDEX_FILE} names. {DOWNLOAD_AGAIN}")
    return files


def read_headers(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """Return the tensors of files by name, file by file.

    Raises:
        FrameworkError: a file cannot be read or is damaged, or two hold a tensor of the same name.
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


def unpacked_mxfp4(tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
    """Return tensors with one of 16 bits, which hold all its numbers, for each pair of blocks and scales.

    The experts are (experts, outputs, inputs) in a file, and (experts, inputs, outputs) in the model.
    """
    unpacked = {}
    for name, tensor in tensors.items():
        stem = name.removesuffix(MXFP4_PARTS[0])
        if stem != name:
            experts, outputs, blocks, size = tensor.shape
            shape = (experts, blocks * size * 2, outputs)
            parts = tuple(tensors[f"{stem}{part}"] for part in MXFP4_PARTS)
            unpacked[stem] = StoredTensor(tensor.file, stem, "BF16", shape, parts)
        elif not name.endswith(MXFP4_PARTS[1]):
            unpacked[name] = tensor
    return unpacked


def _read_header(file: Path) -> Iterator[StoredTensor]:
    try:
        file.open("rb").close()  # safetensors says of each file that may not be read that there is none
    except OSError as error:
        fix = "make it readable for this user" if isinstance(error, PermissionError) else "save it again"
        raise FrameworkError(f"{file} cannot be read: {os.strerror(error.errno or 0)}: {fix}") from error
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is not a dict
                part = opened.get_slice(name)
                yield StoredTensor(file, name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged_file(file, error) from error


def damaged_file(file: Path, error: Exception) -> FrameworkError:
    """Say that a file cannot be read."""
    return FrameworkError(
        f"{file} is not a complete safetensors file ({summarize_error(error)}): download, save or train it again"
    )


def list_names(names: list[str]) -> str:
    """Write the first names, and how many others there are."""
    remainder = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {remainder} others" if remainder > 0 else "")


def shape_text(shape: Iterable[int]) -> str:
    """Write a shape as text."""
    return " x ".join(map(str, shape)) or "a single number"
