"""What the safetensors of a transformers folder hold, by their headers: no tensor is read."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.errors import FrameworkError, short

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
"""Bytes of a weight by the name that safetensors give its type; the others are not weights to convert."""
_LENGTH = 8
_MOST = 100_000_000
"""Bytes of the largest header that the format allows."""


@dataclass(frozen=True)
class Weights:
    """The weights of a folder: how many parameters, and the type of most of them."""

    parameters: int
    dtype: str

    @classmethod
    def read(cls, folder: Path) -> Weights:
        """Read the headers.

        Raises:
            FrameworkError: there are no safetensors, one is cut off or broken, or they are not in 16 or 32 bits.
        """
        counts: dict[str, int] = {}
        for file in sorted(folder.glob("*.safetensors")):
            for tensor in header(file).values():
                counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
        if not counts:
            message = f"{short(folder)} has no .safetensors: there are no weights to convert"
            raise FrameworkError(message)
        dtype = max(counts, key=counts.__getitem__)
        if dtype not in SIZES:
            message = f"{short(folder)} holds weights in {dtype}: only {', '.join(SIZES)} can be converted"
            raise FrameworkError(message)
        return cls(sum(counts.values()), dtype)


def header(file: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file by name: dtype, shape and place.

    Raises:
        FrameworkError: the file is not whole.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as data:
            length = int.from_bytes(data.read(_LENGTH), "little")
            tensors: dict[str, Any] = json.loads(data.read(min(length, _MOST)))
        tensors.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"{short(file)} is corrupted: its header cannot be read. Make it again"
        raise FrameworkError(message) from error
    if size != _LENGTH + length + end:
        message = f"{short(file)} is corrupted: {size:,} bytes, and its header tells of {_LENGTH + length + end:,}"
        raise FrameworkError(message)
    return tensors
