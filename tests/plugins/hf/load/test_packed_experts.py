"""Experts in four bits compute what their unpacked weights compute, and their adapter is the one that peft makes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from bitsandbytes.nn import Linear4bit
from packaging.version import Version
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, Mxfp4Config
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
)

from framework import FrameworkError
from framework_plugins.hf.load import packed_experts
from framework_plugins.hf.load.model_parts import STACKS, fused_experts
from framework_plugins.hf.load.packed_experts import is_packed, pack, unpack
from framework_plugins.hf.settings.planned_weights import UNPACKED_EXPERTS
from tests.plugins.hf.loss.test_loss import reference
from tests.plugins.hf.packing import drawn
from tests.support.bases import tiny_base
from tests.support.mxfp4 import published_in_mxfp4
from tests.support.training import make, opened, train
from tests.support.twins import MIXTURES, TWINS

ALL = "adapter.experts=all"
TOLERANCES = {"Qwen3.5 MoE": 3e-5}
"""Its delta rule multiplies what packed linear layers round in another order: 1.04e-5 with the experts as they are."""


def unpacked(model: Any) -> int:
    """Put the weights that packed ones stand for in their place, and return how many of experts there were."""
    for name, part in list(model.named_modules()):
        if isinstance(part, Linear4bit):
            plain = torch.nn.Linear(part.in_features, part.out_features, bias=part.bias is not None)
            plain.weight.data, plain.bias = unpack(part.weight, torch.float32), part.bias
            model.set_submodule(name, plain.requires_grad_(False))  # noqa: FBT003 - torch's name for it
    stacks = [(part, name) for part in model.modules() for name in STACKS if is_packed(part, name)]
    for part, name in stacks:
        setattr(part, name, torch.nn.Parameter(unpack(getattr(part, name), torch.float32), requires_grad=False))
    return len(stacks)


def filled(model: Any) -> Any:
    """Let each adapter change something."""
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(len(name)))
    return model.train()


@pytest.mark.parametrize(("family", "rank"), [*((family, 3) for family in MIXTURES), ("Qwen3 MoE", 8)])
def test_loss_and_gradients_are_those_of_the_unpacked_weights(
    tmp_path: Path, rows: Path, family: str, rank: int
) -> None:
    """Of a rank that is padded the matrices are copies; torch's grouped product refuses the strides of peft's own."""
    base = TWINS[family].write(tmp_path / "model")
    batch = drawn.make(5, 3, 40)
    words = "quantization=nf4", ALL, f"adapter.r={rank}", *TWINS[family].words
    with opened(make(base, rows, tmp_path / "run", *words)) as (model, _):
        assert "experts too" in model.facts["quantization"]
        packed = reference(filled(model.model), batch)
        assert [name for name in packed[1] if "experts" in name]
        assert unpacked(model.model)
        model.model.get_base_model().set_experts_implementation("eager")
        plain = reference(model.model, batch)
    assert packed[0] == pytest.approx(plain[0], rel=1e-5)
    assert packed[1].keys() == plain[1].keys()
    whole = torch.stack([gradient.norm() for gradient in plain[1].values()]).norm()
    for name, gradient in plain[1].items():
        scale = gradient.norm() if "experts" in name else whole
        assert (packed[1][name] - gradient).norm() <= TOLERANCES.get(family, 1e-5) * scale, name


@pytest.mark.parametrize("double_quant", [True, False])
def test_experts_packed_some_at_a_time_have_the_bytes_of_all_packed_at_once(
    monkeypatch: pytest.MonkeyPatch, *, double_quant: bool
) -> None:
    stack = torch.randn(7, 96, 64, generator=torch.Generator().manual_seed(1)).mT
    whole = packed_experts.pack(stack, double_quant=double_quant)
    monkeypatch.setattr(packed_experts, "UNPACKED_BYTES", 2 * 2 * 64 * 96)
    pieces = packed_experts.pack(stack, double_quant=double_quant)
    assert torch.equal(pieces, whole)
    assert pieces.quant_state.shape == stack.shape
    left, right = (weight.quant_state.as_dict(packed=False) for weight in (whole, pieces))
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name], name
    assert torch.equal(unpack(pieces, torch.float32), unpack(whole, torch.float32))


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
def test_some_experts_at_a_time_give_what_all_at_once_give(
    monkeypatch: pytest.MonkeyPatch, *, double_quant: bool, transposed: bool
) -> None:
    """Some of the eight have no rows, the first and the last three among them."""
    torch.manual_seed(0)
    packed = packed_experts.pack(torch.randn(8, 64, 192), double_quant=double_quant)
    groups = packed_experts.Groups(torch.tensor([0, 0, 2, 2, 9, 9, 9, 9], dtype=torch.int32))
    rows = torch.randn(9, 64 if transposed else 192)
    sums, peaks = [], []
    apply: Any = packed_experts._Product.apply  # noqa: SLF001 - what is tested
    for size in (1 << 30, 3 * 64 * 192 * 2, 1):
        monkeypatch.setattr(packed_experts, "UNPACKED_BYTES", size)
        inputs = rows.clone().requires_grad_()
        product = apply(inputs, groups, packed, transposed)
        product.square().sum().backward()
        sums.append((product, inputs.grad))
        peaks.append(max(matrices.shape[0] for _, matrices in packed_experts._unpacked(packed, rows.dtype)))  # noqa: SLF001
    assert peaks == [8, 3, 1]
    for other in sums[1:]:
        torch.testing.assert_close(other, sums[0], rtol=0, atol=1e-5)


def test_published_experts_in_mxfp4_are_packed_again(tmp_path: Path, rows: Path) -> None:
    base = published_in_mxfp4(tmp_path / "model")
    whole = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, quantization_config=Mxfp4Config(dequantize=True)
    )
    plain = dict(whole.named_parameters())
    with opened(make(base, rows, tmp_path / "run", "quantization=nf4")) as (model, _):
        packed = fused_experts(model.model.get_base_model())
        assert packed
        for name, weight in packed.items():
            expected = unpack(pack(plain[name].data, double_quant=True), torch.float32)
            torch.testing.assert_close(unpack(weight, torch.float32), expected, rtol=0, atol=0)


def test_the_adapter_of_packed_experts_is_restored_and_has_the_tensors_of_one_beside_16_bits(
    tmp_path: Path, rows: Path
) -> None:
    # In an evaluation bitsandbytes reads rows of linear layers in blocks of 64 on a CPU.
    base = tiny_base(
        tmp_path / "model", "qwen3_moe", hidden_size=64, intermediate_size=64, moe_intermediate_size=64, head_dim=64
    )
    shapes = []
    for number, words in enumerate((["quantization=nf4"], ["quantization=none"])):
        plan = make(base, rows, tmp_path / f"run{number}", ALL, "trainer.max_steps=2", "trainer.dtype=fp32", *words)
        with opened(plan) as (model, data):
            train(model, data, tmp_path / str(number))
            trained = answers(model)
        with opened(plan) as (model, _):
            model.restore(tmp_path / str(number) / "checkpoint")
            torch.testing.assert_close(answers(model), trained, rtol=0, atol=1e-6)
        saved = load_file(tmp_path / str(number) / "checkpoint" / "adapter_model.safetensors")
        shapes.append({name: tuple(weight.shape) for name, weight in saved.items()})
    assert shapes[0] == shapes[1]


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.model.eval()(input_ids=torch.arange(3, 40)[None], use_cache=False).logits
    return logits


@pytest.mark.parametrize(
    ("family", "words", "told"),
    [
        ("llama", [], r"quantization\.experts=enabled: LlamaForCausalLM has none that .* computes: leave it at auto"),
    ],
)
def test_experts_that_cannot_be_packed_are_refused(
    tmp_path: Path, rows: Path, family: str, words: list[str], told: str
) -> None:
    base = tiny_base(tmp_path / "model", family)
    plan = make(base, rows, tmp_path / "run", "quantization=nf4", "quantization.experts=enabled", *words)
    with pytest.raises(FrameworkError, match=told), opened(plan):
        pass


def test_the_plan_knows_the_families_whose_experts_are_not_packed() -> None:
    """The plan has no model to ask: which classes have experts of their own is read in the source of transformers."""
    folder = Path(transformers.__file__).parent / "models"
    own = set()
    for file in folder.glob("*/modeling_*.py"):
        source = file.read_text(encoding="utf-8")
        if re.search(r"class \w*Experts\(nn\.Module", source) and "use_experts_implementation" not in source:
            own.add(file.parent.name)
    families = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.keys() | MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES.keys()
    writes_text = {name for name in own if name in families}
    # Before these versions, experts stay in 16 bits and the plan is too low.
    since = {"aria": "5.24", "longcat_flash": "5.25", "step3p7": "5.25"}
    later = {family for family, first in since.items() if Version(transformers.__version__) < Version(first)}
    assert {name.removesuffix("_text") for name in UNPACKED_EXPERTS} | later == writes_text


def test_experts_stay_in_16_bits_if_asked(tmp_path: Path, rows: Path) -> None:
    base = tiny_base(tmp_path / "model", "qwen3_moe")
    plan = make(base, rows, tmp_path / "run", "quantization=nf4", "quantization.experts=disabled")
    with opened(plan) as (model, _):
        assert re.fullmatch(
            "nf4, except the experts: .*% of the parameters stay in 16 bits", model.facts["quantization"]
        )
        assert not any(is_packed(part, name) for part in model.model.modules() for name in STACKS)
