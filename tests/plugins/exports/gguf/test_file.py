"""What tensors of a file became is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from framework_plugins.exports.gguf.file import Tensors


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a file with a wide and a narrow matrix and a vector."""
    file = tmp_path / "mixed.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    for name, shape in (("wide.weight", (4, 256)), ("narrow.weight", (4, 64)), ("other.weight", (2, 96))):
        data: Any = gguf.quants.quantize(np.zeros(shape, np.float32), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("norm.weight", np.zeros(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def test_matrices_are_counted_and_vectors_left_out(mixed: Path) -> None:
    assert Tensors.read(mixed) == Tensors({"Q8_0": 3}, {"Q8_0": 2})


def test_rows_that_are_too_narrow_are_reported_for_k_quants_alone() -> None:
    tensors = Tensors({"Q5_0": 150, "Q4_K": 31, "Q8_0": 30}, {"Q5_0": 150, "Q8_0": 30})
    said = "180 of 211 matrices are Q5_0/Q8_0, not Q4_K_M: the width of their rows is not a multiple of 256"
    assert tensors.note("q4_k_m") == said
    assert tensors.note("q8_0") == ""
    assert Tensors({"Q4_K": 31}, {}).note("q4_k_m") == ""
