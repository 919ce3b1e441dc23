"""Five scrambles of experts in merged weights are found: by the merge itself, and by the comparison with peft's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors.torch import load_file, save_file

from framework import FrameworkError
from framework.api.training import ModelPlace
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge import merging
from framework_plugins.exports.parity.weights import trained_products, weights_problem
from tests.plugins.exports.merge.test_merging import load, plan_for
from tests.support import scrambles
from tests.support.bases import adapted, tiny_base

EXPERTS = 32
SIZES: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 64, "moe_intermediate_size": 64, "head_dim": 16}
"""Square matrices: a transposed one has the same shape."""
FAMILIES: dict[str, Any] = {
    "qwen3_moe": {"num_experts": EXPERTS},  # single experts in the files
    "mixtral": {"num_local_experts": EXPERTS},
    "gpt_oss": {"num_local_experts": EXPERTS},  # one tensor in the files, inputs first, gate and up by turns
}
LAYER = "model.layers.1.mlp.experts"
SMALL = 2e-4
"""A short training changes a matrix by a thousandth of its size."""


class Trained:
    """A mixture in bf16 with an adapter of its experts, and the same adapter scrambled."""

    def __init__(self, folder: Path, family: str) -> None:
        self.folder, self.family = folder, family
        self.base = tiny_base(folder / "base", family, dtype="bfloat16", **SIZES | FAMILIES[family])
        names = [f"model.layers.{n}.mlp.experts.{part}" for n in (0, 1) for part in ("gate_up_proj", "down_proj")]
        adapted(self.base, folder / "adapter", r=2, target_modules=["q_proj"], target_parameters=names)
        self._change(
            folder / "adapter", lambda tensors: [tensors[name].mul_(SMALL) for name in tensors if "lora_B" in name]
        )
        model = self.loaded()
        layer = model.get_base_model().get_submodule(LAYER)
        self.transposed = layer.get_base_layer().is_transposed
        self.concatenated = layer.get_base_layer().is_concatenated
        self.saved = {
            part.parameter_name: name
            for name, part in model.named_modules()
            if LAYER in name and hasattr(part, "parameter_name")
        }
        self.products = trained_products(self.loaded())

    def loaded(self) -> Any:
        return PeftModel.from_pretrained(load(self.base), self.folder / "adapter")

    def _change(self, folder: Path, change: Any) -> None:
        tensors = load_file(folder / "adapter_model.safetensors")
        change(tensors)
        save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def scrambled(self, scramble: str, parameter: str) -> Path:
        folder = self.folder / f"scrambled {scramble}"
        shutil.copytree(self.folder / "adapter", folder, dirs_exist_ok=True)
        self._change(
            folder,
            lambda tensors: scrambles.of_saved(
                scramble, tensors, self.saved[parameter], concatenated=self.concatenated, experts=EXPERTS
            ),
        )
        return folder


@pytest.fixture(scope="module", params=FAMILIES)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp(request.param), request.param)


def test_the_experts_of_a_merge_are_those_of_base_and_adapter(trained: Trained, tmp_path: Path) -> None:
    for dtype in Dtype:
        merging.merge(plan_for(trained.base), trained.folder / "adapter", tmp_path / dtype.value, dtype=dtype)
        assert weights_problem(load(tmp_path / dtype.value), trained.products) == ""


SCRAMBLED = [
    # Mixtral's experts are in the files as those of Qwen 3 are.
    pytest.param(family, scramble, marks=pytest.mark.slow if family == "mixtral" else [])
    for family in FAMILIES
    for scramble in scrambles.ALL
]


@pytest.mark.parametrize(("trained", "scramble"), SCRAMBLED, indirect=["trained"], scope="module")
def test_a_merge_with_other_matrices_than_those_of_the_expert_is_refused(
    trained: Trained, tmp_path: Path, scramble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameter = "gate_up_proj" if scramble == "gate and up swapped" else "down_proj"
    other = trained.scrambled(scramble, parameter)
    write, plan = merging._write, merging._plan_adapter  # noqa: SLF001 - what is written is another than what is checked

    def scrambled(_: Any, folder: Path, limit: int) -> None:
        write(plan(other, ModelPlace(trained.base, str(trained.base)), trust=False), folder, limit)

    monkeypatch.setattr(merging, "_write", scrambled)
    which = scrambles.named(scramble, EXPERTS)
    told = rf"experts are not those of the base and the adapter: {which} of {LAYER}\.{parameter} \(1 of 4 tensors"
    with pytest.raises(FrameworkError, match=told):
        merging.merge(plan_for(trained.base), trained.folder / "adapter", tmp_path / "merged")
    monkeypatch.setattr(merging, "_verify", lambda *_, **__: None)
    merging.merge(plan_for(trained.base), trained.folder / "adapter", tmp_path / "merged")
    problem = weights_problem(load(tmp_path / "merged"), trained.products)
    assert f"1 of {len(trained.products)} weights" in problem
    assert f" {which} of {LAYER}.{parameter} by " in problem
