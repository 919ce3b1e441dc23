"""Whether each tensor of a quantized GGUF file is that of the file that it is made from, as far as its bits allow.

The bounds of what a quantized model answers are wide: two neighbouring layers that changed places keep them. The
tensors tell such an error from a rounding, and reading some rows of each takes seconds.
"""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize
from numpy.typing import NDArray

ROWS = 256
"""Rows of a tensor that are compared, evenly spaced."""
ERROR_FACTOR = 8.0
"""A type with b bits for each weight may differ by 2^-b times this, as a share of the tensor; 3.5 times was measured at
most, over all quantizations of SmolLM2."""
MANTISSA_BITS = {"F64": 52, "F32": 23, "F16": 10, "BF16": 7}
SCALE_TOLERANCE = 0.05
"""How far the size of a quantized tensor may be from that of its source; 0.02 was measured at most."""


def tensors_problem(file: Path, source: Path) -> str:
    """Name the tensors of a file that differ from its source; empty if none does."""
    before = {tensor.name: tensor for tensor in gguf.GGUFReader(source).tensors}
    after = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    if before.keys() != after.keys():
        return f"its tensors are others: {', '.join(sorted(before.keys() ^ after.keys())[:3])}"
    wrong = [problem for name, tensor in after.items() if (problem := _difference(tensor, before[name]))]
    return f"{len(wrong)} of {len(after)} tensors are not those of its source: {', '.join(wrong[:2])}" if wrong else ""


def _difference(tensor: gguf.ReaderTensor, source: gguf.ReaderTensor) -> str:
    if (shape := _shape(tensor)) != (source_shape := _shape(source)):
        return f"{tensor.name} is {shape} instead of {source_shape}"
    actual, expected = _rows(tensor), _rows(source)
    if not expected.any():  # a bias that was never trained, say
        return f"{tensor.name} is not 0 everywhere" if actual.any() else ""
    size = float(np.square(expected).sum())
    error = float(np.square(actual - expected).sum() / size) ** 0.5
    scale = float((actual * expected).sum() / size)
    if not (error <= _limit(tensor.tensor_type) and abs(scale - 1) <= SCALE_TOLERANCE):
        return f"{tensor.name} ({tensor.tensor_type.name}) differs by {error:.2g} of its size"
    return ""


def _shape(tensor: gguf.ReaderTensor) -> list[int]:
    """Return the shape without dimensions of one at its end: llama.cpp writes none."""
    shape = [int(size) for size in tensor.shape]
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return shape


def _limit(kind: gguf.GGMLQuantizationType) -> float:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return ERROR_FACTOR * math.pow(2, -MANTISSA_BITS.get(kind.name, 8 * size / block))


def _rows(tensor: gguf.ReaderTensor) -> NDArray[np.float64]:
    every = tensor.data.reshape(-1, tensor.data.shape[-1])
    chosen = np.unique(np.linspace(0, len(every) - 1, ROWS).astype(int))
    return dequantize(every[chosen], tensor.tensor_type).astype(np.float64)
