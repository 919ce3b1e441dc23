"""Whether each expert in a converted GGUF file is that of the merged folder.

llama.cpp's converter stacks experts, cuts gate from up, and turns some of them around. Rows of each matrix of each
expert are read again, in the layout that transformers has for the family.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import dequantize, quantize

from framework_plugins.exports.merge.expert_check import ModelFiles
from framework_plugins.exports.merge.merging import read_model
from framework_plugins.exports.merge.weight_delta import TensorReader
from framework_plugins.lib import experts

ROWS = 32
"""Rows of each matrix that are compared, evenly spaced: what a scramble changes, it changes in all of them."""


def experts_problem(file: Path, folder: Path, *, trust: bool) -> str | None:
    """Name the experts of a GGUF file that are not those of the folder that it was converted from; empty if all are.

    None if there are none, or llama.cpp stores those of the family in another way.

    Args:
        file: before any quantization.
        folder: the model.
        trust: whether code in the folder may be run.
    """
    merged = ModelFiles(*read_model(folder, trust=trust))
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    wrong, compared, read = {}, 0, TensorReader()
    try:
        for name, _, part in experts.fused(merged.model.model):
            for stored, matrices in _expected(name, part, merged, read):
                if (tensor := tensors.get(stored)) is not None:
                    compared += 1
                    if numbers := _wrong_experts(tensor, matrices):
                        wrong[f"{tensor.name} ({name})"] = numbers
    finally:
        read.close()
    return None if not compared else experts.problem(wrong, compared, "experts are not those of the merged weights")


def _expected(name: str, part: Any, merged: ModelFiles, read: TensorReader) -> Iterator[tuple[str, torch.Tensor]]:
    """Give the matrices of all experts, (experts, outputs, inputs), by the names that llama.cpp has for them."""
    key, block = name.rpartition(".")[2], re.search(r"\.(\d+)\.", name)
    if not hasattr(part, "is_transposed") or block is None or key not in {"gate_up_proj", "up_proj", "down_proj"}:
        return
    start, end = f"blk.{block[1]}.ffn_", "_exps.weight"
    weight = merged.weight(name, read)
    weight = weight.mT if part.is_transposed else weight
    if key != "gate_up_proj":
        yield f"{start}{key.removesuffix('_proj')}{end}", weight
        return
    halves = weight.chunk(2, dim=1) if part.is_concatenated else (weight[:, ::2], weight[:, 1::2])
    yield from zip((f"{start}gate{end}", f"{start}up{end}"), halves, strict=True)
    yield f"{start}gate_up{end}", weight if part.is_concatenated else torch.cat(halves, dim=1)


def _wrong_experts(tensor: gguf.ReaderTensor, matrices: torch.Tensor) -> list[int]:
    """Return the experts of a tensor that are not these."""
    count, outputs, inputs = matrices.shape
    if [int(size) for size in reversed(tensor.shape)] != [count, outputs, inputs]:
        return [*range(count)]
    stored, wrong = tensor.data.reshape(count, outputs, -1), []
    rows = np.unique(np.linspace(0, outputs - 1, ROWS).astype(int))
    for expert in range(count):
        expected = matrices[expert, rows].float().numpy()
        found = dequantize(stored[expert, rows], tensor.tensor_type)
        expected = dequantize(quantize(expected, tensor.tensor_type), tensor.tensor_type)
        if not np.array_equal(found, expected):
            wrong.append(expert)
    return wrong
