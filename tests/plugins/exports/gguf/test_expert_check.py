"""Five scrambles of experts in a GGUF file are found: in the converted one, and in one that is quantized from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch

from framework import testing
from framework.api.protocols import ExportContext
from framework_plugins.exports.gguf import expert_check, exporter
from framework_plugins.exports.gguf.convert.model import convert
from framework_plugins.exports.llama.quantizations import quantize
from framework_plugins.exports.parity.gate import Gate, ParityError
from framework_plugins.exports.parity.quantized_weights import tensors_problem
from tests.support import scrambles
from tests.support.twins import TWINS

FAMILIES = ("Qwen3 MoE", "gpt-oss", "Gemma 4 A4B")
"""Experts one by one in the files; inputs first, gate and up by turns; gate and up in one tensor of the GGUF file."""
EXPERTS, ADAPTER = 4, 5e-3
SIZES = {"hidden_size": 256, "intermediate_size": 256, "moe_intermediate_size": 256}
"""Square matrices: a transposed one has the same shape. K-quants take rows of 256."""


@pytest.fixture(scope="module", params=FAMILIES)
def converted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("twin")
    base = TWINS[request.param].write(folder / "base", SIZES)
    convert(str(base), str(folder / "whole.gguf"), "bf16", "twin")
    return base, folder / "whole.gguf"


def scrambled(file: Path, target: Path, scramble: str, share: float) -> tuple[Path, str]:
    """Write a copy of a GGUF file with the experts of one tensor scrambled, and return the name of that."""
    shutil.copy(file, target)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(target, "r+").tensors}
    gate, up, both, down = (f"blk.1.ffn_{part}_exps.weight" for part in ("gate", "up", "gate_up", "down"))
    if scramble == "gate and up swapped" and both not in tensors:
        first, second = tensors[gate].data, tensors[up].data
        first[:], second[:] = second.copy(), first.copy()
        return target, gate
    name = both if scramble == "gate and up swapped" else down
    numbers = tensors[name].data.view("int16")
    matrices = torch.from_numpy(numbers.copy()).view(torch.bfloat16)
    numbers[:] = scrambles.of_matrices(scramble, matrices, share=share).view(torch.int16).numpy()
    return target, name


def test_the_experts_of_a_converted_file_are_those_of_the_folder(converted: tuple[Path, Path]) -> None:
    base, file = converted
    assert expert_check.experts_problem(file, base, trust=False) == ""


def test_a_model_without_experts_has_none_to_compare(tmp_path: Path) -> None:
    base = TWINS["Ministral 3"].write(tmp_path / "base")
    convert(str(base), str(tmp_path / "whole.gguf"), "bf16", "twin")
    assert expert_check.experts_problem(tmp_path / "whole.gguf", base, trust=False) is None


@pytest.mark.parametrize("scramble", scrambles.ALL)
def test_a_converted_file_with_other_experts_is_rejected(
    converted: tuple[Path, Path], tmp_path: Path, scramble: str
) -> None:
    base, whole = converted
    file, tensor = scrambled(whole, tmp_path / "whole.gguf", scramble, ADAPTER)
    words = ["model=local", f"model.path={json.dumps(str(base))}", "exporter=[gguf]"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    plan.run_dir.mkdir()
    context: Any = ExportContext(plan.run_dir, tmp_path, plan.config, plan)
    gate = Gate(plan.exporter["gguf"].config.parity, testing.EchoModel(plan), context)
    told = rf"experts are not those of the merged weights: {scrambles.named(scramble, EXPERTS)} of {tensor} \(model\."
    with pytest.raises(ParityError, match=told):
        exporter._compare_experts(file, base, gate, context, "twin")  # noqa: SLF001 - the rest of an export has tests
    assert list((plan.run_dir / "rejected").iterdir())
    (record,) = json.loads((plan.run_dir / "parity.json").read_text(encoding="utf-8"))
    assert record["against"] == "experts"


QUANTIZED = [
    # The families differ in how their files hold gate and up; the other matrices are compared in the same way.
    pytest.param(
        family,
        scramble,
        quantization,
        marks=[] if family == FAMILIES[0] or scramble == "gate and up swapped" else pytest.mark.slow,
    )
    for family in FAMILIES
    for scramble in scrambles.ALL
    for quantization in ("f16", "q4_k_m")
]


@pytest.mark.parametrize(("converted", "scramble", "quantization"), QUANTIZED, indirect=["converted"], scope="module")
def test_a_quantized_file_with_other_experts_than_its_source_names_them(
    converted: tuple[Path, Path], tmp_path: Path, scramble: str, quantization: str
) -> None:
    share = ADAPTER if quantization == "f16" else 1.0  # four bits round by more than an adapter changes
    file, tensor = scrambled(converted[1], tmp_path / "wrong.gguf", scramble, share)
    quantize(file, tmp_path / "made.gguf", quantization, threads=1)
    assert f"{scrambles.named(scramble, EXPERTS)} of {tensor} (" in tensors_problem(
        tmp_path / "made.gguf", converted[1]
    )
