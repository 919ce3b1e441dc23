"""exports/parity/quantized_weights.py: the tensors of a quantized file are those of its source."""

from __future__ import annotations

import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest

from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.parity.quantized_weights import tensors_problem
from tests.plugins.exports.conftest import Pair


def changed(file: Path, target: Path, factor: float = 1.0, *, swap: bool = False) -> Path:
    """Write a copy of a file with one matrix scaled, or with that of another layer in its place."""
    shutil.copy(file, target)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(target, "r+").tensors}
    first = tensors["blk.0.ffn_down.weight"].data
    first[:] = (first * factor).astype(first.dtype)
    if swap:
        second = tensors["blk.1.ffn_down.weight"].data
        first[:], second[:] = second.copy(), first.copy()
    return target


@pytest.mark.parametrize(("factor", "swap"), [(1.0, True), (1.1, False), (0.0, False)])
def test_another_tensor_is_named(factor: float, *, swap: bool, tiny: Pair, tmp_path: Path) -> None:
    wrong = changed(tiny.file, tmp_path / "wrong.gguf", factor, swap=swap)
    quantize(wrong, tmp_path / "made.gguf", "q2_k", threads=1)
    told = tensors_problem(tmp_path / "made.gguf", tiny.file)
    assert told.startswith(f"{1 + swap} of ")
    assert "tensors are not those of its source: blk.0.ffn_down.weight (Q" in told


def written(file: Path, value: float, *shape: int) -> Path:
    """Write a file with a tensor of a single row and one of a single number."""
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_tensor("row", np.ones(shape, np.float32))
    writer.add_tensor("bias", np.full(32, value, np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    return file


def test_a_single_row_and_a_tensor_of_zeros_are_themselves(tmp_path: Path) -> None:
    zeros, ones = written(tmp_path / "zeros.gguf", 0, 1, 32), written(tmp_path / "ones.gguf", 1, 1, 32)
    made = written(tmp_path / "made.gguf", 0, 32)  # llama.cpp writes the row so
    assert tensors_problem(made, zeros) == ""
    assert tensors_problem(ones, zeros) == "1 of 2 tensors are not those of its source: bias is not 0 everywhere"


def test_a_tensor_that_is_missing_is_named(tiny: Pair, tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "few.gguf", "llama")
    for tensor in gguf.GGUFReader(tiny.file).tensors[1:]:
        writer.add_tensor(tensor.name, tensor.data)
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    (first, *_) = gguf.GGUFReader(tiny.file).tensors
    assert tensors_problem(tmp_path / "few.gguf", tiny.file) == f"its tensors are others: {first.name}"
