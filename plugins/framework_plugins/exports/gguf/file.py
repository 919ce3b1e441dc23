"""The metadata of a GGUF file, read back after it was written."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import gguf

from framework_plugins.exports.gguf.quantizations import BLOCK, QUANTIZATIONS


@dataclass(frozen=True)
class Tensors:
    """How many tensors of a file have which type. Vectors and the like, which no quantization touches, are left out.

    Attributes:
        types: number of tensors by the name of their type, the most frequent first.
        narrow: the same of those whose rows are no multiple of 256 weights wide.
    """

    types: dict[str, int]
    narrow: dict[str, int]

    @classmethod
    def read(cls, file: Path) -> Tensors:
        kinds = [(tensor.tensor_type.name, int(tensor.shape[0])) for tensor in gguf.GGUFReader(file).tensors]
        kinds = [(kind, width) for kind, width in kinds if kind != "F32"]
        narrow = Counter(kind for kind, width in kinds if width % BLOCK)
        return cls(dict(Counter(kind for kind, _ in kinds).most_common()), dict(narrow.most_common()))

    def note(self, quantization: str) -> str:
        """Say what became of tensors whose width the quantization cannot pack; empty if there are none."""
        if not QUANTIZATIONS[quantization].in_blocks or not self.narrow:
            return ""
        count, total = sum(self.narrow.values()), sum(self.types.values())
        return (
            f"{count} of {total} matrices are {'/'.join(self.narrow)}, not {quantization.upper()}: "
            f"the width of their rows is not a multiple of {BLOCK}"
        )
