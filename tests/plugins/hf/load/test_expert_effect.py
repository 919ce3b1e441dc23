"""Each expert has its own adapter in memory and in the file: five scrambles of either are found on saving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import ParamWrapper
from safetensors.torch import load_file, save_file

from framework import FrameworkError
from framework_plugins.hf.model import HFModel
from tests.support import scrambles
from tests.support.bases import tiny_base
from tests.support.training import make, opened

FAMILIES: dict[str, Any] = {"qwen3_moe": {}, "gpt_oss": {}, "mixtral": {"num_local_experts": 4}}
KINDS = [(family, kind) for family in FAMILIES for kind in ("nf4", "none")]
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 64, "head_dim": 16}
"""Square matrices: a transposed one has the same shape."""
LAYER = "model.layers.1.mlp.experts"


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HFModel]:
    family, kind = request.param
    folder = tmp_path_factory.mktemp(f"{family}-{kind}")
    base = tiny_base(folder / "model", family, dtype="bfloat16", **SIZES | FAMILIES[family])
    rows = folder / "rows.jsonl"
    rows.write_text('{"text": "one"}\n' * 20, encoding="utf-8")
    plan = make(base, rows, folder / "run", f"quantization={kind}", "adapter.experts=all")
    with opened(plan) as (hf, _):
        for name, weight in hf.model.named_parameters():
            if "lora_B" in name:  # as small as a short training leaves them
                torch.nn.init.normal_(weight, std=1e-3, generator=torch.Generator().manual_seed(len(name)))
        yield hf


def test_an_adapter_that_is_as_it_should_be_is_saved(model: HFModel, tmp_path: Path) -> None:
    model.save_weights(tmp_path / "adapter")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("scramble", scrambles.ALL)
def test_experts_that_compute_with_other_matrices_are_named(
    model: HFModel, tmp_path: Path, scramble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors = ParamWrapper.get_delta_factors
    parameter = "gate_up_proj" if scramble == "gate and up swapped" else "down_proj"

    def scrambled(wrapper: Any, adapter: str) -> tuple[torch.Tensor, torch.Tensor, float]:
        left, right, scaling = factors(wrapper, adapter)
        if wrapper is layer:
            transposed = wrapper.get_base_layer().is_transposed
            a, b = (left.mT, right.mT) if transposed else (right, left)
            a, b = scrambles.of_factors(scramble, a, b, concatenated=wrapper.get_base_layer().is_concatenated)
            left, right = (a.mT, b.mT) if transposed else (b, a)
        return left, right, scaling

    layers = {
        f"{name.replace('.base_layer', '')}.{part.parameter_name}": part
        for name, part in model.model.get_base_model().named_modules()
        if isinstance(part, ParamWrapper)
    }
    layer = layers[f"{LAYER}.{parameter}"]
    monkeypatch.setattr(ParamWrapper, "get_delta_factors", scrambled)
    told = rf"{scrambles.named(scramble, 4)} of {LAYER}\.{parameter} \(1 of 4 tensors of experts\)$"
    with pytest.raises(FrameworkError, match=r"adapter: experts compute with other matrices than .*: " + told):
        model.save_weights(tmp_path / "adapter")


@pytest.mark.parametrize("scramble", scrambles.ALL)
def test_experts_whose_matrices_in_the_file_are_others_are_named(
    model: HFModel, tmp_path: Path, scramble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = PeftModel.save_pretrained

    def scrambled(peft_model: PeftModel, folder: Path, **options: Any) -> None:
        save(peft_model, folder, **options)
        file = Path(folder, "adapter_model.safetensors")
        tensors = load_file(file)
        inner = max((name for name in tensors if ".layers.1.mlp.experts" in name), key=len).rpartition(".lora_")[0]
        outer = inner.removesuffix(".base_layer")
        name = next(n for n in (inner, outer) if (tensors[f"{n}.lora_B.weight"].shape[0] == 128) is is_first)
        scrambles.of_saved(scramble, tensors, name, concatenated=concatenated)
        save_file(tensors, file, metadata={"format": "pt"})

    is_first = scramble == "gate and up swapped"
    base = model.model.get_base_model()
    concatenated = base.get_submodule(LAYER).get_base_layer().is_concatenated
    monkeypatch.setattr(PeftModel, "save_pretrained", scrambled)
    parameter = "gate_up_proj" if is_first else "down_proj"
    told = rf"are not what was trained: {scrambles.named(scramble, 4)} of {LAYER}\.{parameter}$"
    with pytest.raises(FrameworkError, match=told):
        model.save_weights(tmp_path / "adapter")
