"""How many weights a transformers folder holds, and in which number format, by the headers of its safetensors."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from framework.api.errors import FrameworkError
from framework_plugins.exports.merge.headers import BITS, FLOATS, model_files, stored


@dataclass(frozen=True)
class Weights:
    """The parameters of a model, and the type of most of them as safetensors call it."""

    parameters: int
    dtype: str

    @classmethod
    def read(cls, folder: Path) -> Weights:
        """Read the headers.

        Raises:
            FrameworkError: files are missing or damaged, or the weights are quantized.
        """
        counts: Counter[str] = Counter()
        for tensor in stored(model_files(folder)).values():
            counts[tensor.dtype] += math.prod(tensor.shape)
        dtype = counts.most_common(1)[0][0] if counts else "nothing"
        if dtype not in FLOATS:
            raise FrameworkError(
                f"{folder} holds weights in {dtype}: only {', '.join(sorted(FLOATS))} can be converted to GGUF"
            )
        return cls(counts.total(), dtype)

    @property
    def bytes(self) -> int:
        return self.parameters * BITS[self.dtype] // 8
