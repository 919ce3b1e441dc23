"""Whether each tensor of a quantized GGUF file is that of the file that it is made from, as far as its bits allow.

The bounds of what a quantized model answers are wide: two neighbouring layers that changed places keep them. The
tensors tell such an error from a rounding, and reading some rows of each takes seconds.
"""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from framework_plugins.lib import experts

Array = NDArray[np.float64]
EXPERTS_DIMS = 3
ROWS, EXPERT_ROWS = 256, 4
"""Rows of a tensor that are compared, evenly spaced, and at least how many of each expert."""
ERROR_FACTOR = 8.0
"""A type with b bits for each weight may differ by 2^-b times this, as a share of the tensor; 3.5 times was measured at
most, over all quantizations of SmolLM2."""
ROUNDED, ROUNDED_LIMIT = ("F32", "F16", "BF16"), 1e-4
"""Types that round each number by itself, as is done with those of the source first; and how far they may differ."""
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
    count = shape[2] if len(shape) == EXPERTS_DIMS else 1
    problems = map(
        _rows_problem,
        *(_rows(part, count, tensor.tensor_type) for part in (tensor, source)),
        [tensor.tensor_type] * count,
    )
    wrong = {number: text for number, text in enumerate(problems) if text}
    if not wrong:
        return ""
    which = f"{experts.named([*wrong])} of " if count > 1 else ""
    return f"{which}{tensor.name} {next(iter(wrong.values()))}"


def _rows_problem(actual: Array, expected: Array, kind: gguf.GGMLQuantizationType) -> str:
    """Say how rows of a matrix differ; empty if they do not."""
    if not expected.any():  # a bias that was never trained, say
        return "is not 0 everywhere" if actual.any() else ""
    size = float(np.square(expected).sum())
    error = float(np.square(actual - expected).sum() / size) ** 0.5
    scale = float((actual * expected).sum() / size)
    if not (error <= _limit(kind) and abs(scale - 1) <= SCALE_TOLERANCE):
        return f"({kind.name}) differs by {error:.2g} of its size"
    return ""


def _shape(tensor: gguf.ReaderTensor) -> list[int]:
    """Return the shape without dimensions of one at its end: llama.cpp writes none."""
    shape = [int(size) for size in tensor.shape]
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    return shape


def _limit(kind: gguf.GGMLQuantizationType) -> float:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return ROUNDED_LIMIT if kind.name in ROUNDED else ERROR_FACTOR * math.pow(2, -8 * size / block)


def _rows(tensor: gguf.ReaderTensor, count: int, kind: gguf.GGMLQuantizationType) -> Array:
    """Return some rows of each of the matrices in a tensor, (matrices, rows, columns); a type may round them."""
    every = tensor.data.reshape(count, -1, tensor.data.shape[-1])
    chosen = np.unique(np.linspace(0, every.shape[1] - 1, max(ROWS // count, EXPERT_ROWS)).astype(int))
    values = dequantize(every[:, chosen], tensor.tensor_type)
    if kind.name in ROUNDED:
        values = dequantize(quantize(values, kind), kind)
    return values.astype(np.float64)
