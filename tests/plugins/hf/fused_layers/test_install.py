"""hf/fused_layers/install.py: what is replaced gives the same, and what would not is left alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GlmConfig,
    NemotronConfig,
    PhiConfig,
    Qwen3Config,
    Qwen3ForCausalLM,
    SmolLM3Config,
    StableLmConfig,
)

from framework_plugins.hf.fused_layers import install
from framework_plugins.hf.fused_layers.mlp import GatedMLP
from framework_plugins.hf.fused_layers.norm import RMSNorm
from tests.support.tiny import tiny_llama

SMALL = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8,
}  # fmt: skip


def with_lora(model: Any, *, fast: bool) -> Any:
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    if fast:
        install.use_branches(model)
    adapted = get_peft_model(model, config)
    if fast:
        install.install(adapted)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return adapted


def kinds(model: nn.Module) -> Counter[str]:
    return Counter(type(part).__name__ for part in model.modules())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("model"))


def test_a_llama_gets_every_layer_and_keeps_the_names_of_its_weights(llama: Path) -> None:
    made = [with_lora(AutoModelForCausalLM.from_pretrained(llama), fast=fast) for fast in (True, False)]
    found = kinds(made[0])
    assert (found["BranchAttention"], found["GatedMLP"], found["RMSNorm"], found["FusedLinear"]) == (2, 2, 5, 14)
    assert made[0].state_dict().keys() == made[1].state_dict().keys()
    for name, weight in made[0].state_dict().items():
        torch.testing.assert_close(weight, made[1].state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("switched_off", [False, True])
def test_a_model_answers_as_it_did(llama: Path, *, switched_off: bool) -> None:
    ids = torch.arange(3, 40)[None]
    made = []
    for fast in (True, False):
        model = with_lora(AutoModelForCausalLM.from_pretrained(llama), fast=fast)
        if switched_off:
            with model.disable_adapter(), torch.no_grad():
                made.append(model(ids).logits)
        else:
            made.append(model(ids).logits)
    torch.testing.assert_close(*made, rtol=1e-4, atol=1e-5)


def test_a_norm_with_another_formula_and_an_mlp_with_another_activation_stay() -> None:
    model = with_lora(Gemma3ForCausalLM(Gemma3TextConfig(**SMALL)).float(), fast=True)  # 1 + w, and GELU
    found = kinds(model)
    assert found["GatedMLP"] == found["RMSNorm"] == 0
    assert found["Gemma3RMSNorm"] > 0
    assert found["FusedLinear"] == 14


def test_an_attention_with_norms_of_its_own_stays() -> None:
    model = with_lora(Qwen3ForCausalLM(Qwen3Config(**SMALL)).float(), fast=True)
    found = kinds(model)
    assert found["BranchAttention"] == 0
    assert (found["GatedMLP"], found["Qwen3RMSNorm"]) == (2, 0)


@pytest.mark.parametrize(
    ("config", "replaced"),
    [
        (NemotronConfig(**SMALL, partial_rotary_factor=0.5), 0),  # half of a head is turned
        (StableLmConfig(**{**SMALL, "partial_rotary_factor": 0.25}), 0),
        (GlmConfig(**SMALL, partial_rotary_factor=0.5, pad_token_id=0), 0),  # neighbours are turned against each other
        (PhiConfig(**SMALL), 0),
        (SmolLM3Config(**SMALL, no_rope_layers=[1, 0], pad_token_id=0), 1),  # one of two layers turns nothing
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_attention_that_turns_positions_in_another_way_stays(config: Any, replaced: int) -> None:
    model = with_lora(AutoModelForCausalLM.from_config(config).float(), fast=True)
    assert kinds(model)["BranchAttention"] == replaced


def test_what_only_looks_alike_is_distinguished() -> None:
    class OtherRMSNorm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((8,), 0.5), requires_grad=False)
            self.eps = 1e-6

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (self.weight + 1)

    parent = nn.ModuleDict({"norm": OtherRMSNorm()})
    install.install(parent)
    assert isinstance(parent["norm"], OtherRMSNorm)
    assert not isinstance(parent["norm"], RMSNorm | GatedMLP)


def test_a_norm_that_is_trained_stays() -> None:
    parent = nn.ModuleDict({"norm": nn.RMSNorm(8, eps=1e-6)})
    install.install(parent)
    assert isinstance(parent["norm"], nn.RMSNorm)


def test_a_norm_with_a_weight_of_zero_stays() -> None:
    norm = nn.RMSNorm(8, eps=1e-6).requires_grad_(requires_grad=False)
    norm.weight[3] = 0
    parent = nn.ModuleDict({"norm": norm})
    install.install(parent)
    assert isinstance(parent["norm"], nn.RMSNorm)


def test_layers_that_another_library_has_made_become_ours(llama: Path) -> None:
    """As after `prepare`: the same kinds of layers, with the same outputs."""
    made = [with_lora(AutoModelForCausalLM.from_pretrained(llama), fast=fast) for fast in (True, False)]
    install.use_branches(made[1].get_base_model())
    install.install(made[1])
    assert kinds(made[0]) == kinds(made[1])
    ids = torch.arange(5, 25).reshape(2, 10)
    ours, theirs = (model(input_ids=ids, use_cache=False).logits for model in made)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=0)
