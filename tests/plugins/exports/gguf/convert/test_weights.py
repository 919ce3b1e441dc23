"""Weights are counted by the headers of their files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from framework.util.errors import FrameworkError
from framework_plugins.exports.gguf.convert.weights import Weights


def test_most_of_the_parameters_decide_on_the_type(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(30, 4, dtype=torch.bfloat16), "b": torch.zeros(9)}, tmp_path / "model.safetensors")
    weights = Weights.read(tmp_path)
    assert weights == Weights(129, "BF16")
    assert weights.bytes == 258


def test_quantized_weights_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(30, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    with pytest.raises(FrameworkError, match="holds weights in U8: only BF16, F16, F32, F64"):
        Weights.read(tmp_path)


@pytest.mark.parametrize("left", [0, 7, 60, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, left: int) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(30)}, file)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(FrameworkError, match=r"model\.safetensors is not a complete safetensors file"):
        Weights.read(tmp_path)
