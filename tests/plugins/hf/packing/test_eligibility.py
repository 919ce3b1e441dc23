"""hf/packing/eligibility.py: for which models a tree is the same training, and the reason given for others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    BitsAndBytesConfig,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GptOssConfig,
    Lfm2Config,
    LlamaConfig,
    LlavaConfig,
    MambaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PhimoeConfig,
    PretrainedConfig,
    Qwen2Config,
    Qwen3Config,
    RwkvConfig,
    SeedOssConfig,
)
from transformers import AutoModelForCausalLM as Auto
from transformers import AutoModelForMultimodalLM as Multimodal

from framework_plugins.hf.packing.eligibility import ForwardPlan, forward_plan, pair_cost
from framework_plugins.hf.settings import attention as attention_choice
from framework_plugins.hf.settings.config import HFTrainerConfig, Packing
from tests.support.bases import needs_states

SMALL: dict[str, Any] = {
    "vocab_size": 200, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip


class Adapter:
    """As much of a peft config as is asked for."""

    def __init__(self, lora_dropout: float = 0.0) -> None:
        self.lora_dropout = lora_dropout


def chosen(
    config: PretrainedConfig,
    attention: str = "sdpa",
    packing: Packing = Packing.tree,
    dropout: float = 0.0,
    device: str = "cpu",
    *,
    kind: Any = Auto,
    quantized: Any = None,
) -> tuple[ForwardPlan, str]:
    with torch.device("meta"):
        model = kind.from_config(config)
    settings = HFTrainerConfig(packing=packing)
    return forward_plan(settings, model, attention, device, Adapter(dropout), quantized)


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**SMALL), MistralConfig(**SMALL, sliding_window=None), Qwen2Config(**SMALL), Qwen3Config(**SMALL)],
    ids=lambda config: config.model_type,
)
def test_models_with_full_attention_take_a_tree(config: PretrainedConfig) -> None:
    made, fact = chosen(config)
    assert fact == "tree"
    assert made.packing is Packing.tree
    assert made.branch_attention
    assert made.fused_layers
    assert made.prefix_reusable


GPT_OSS = GptOssConfig(
    **SMALL, num_local_experts=2, num_experts_per_tok=1, layer_types=["full_attention"] * 2, sliding_window=None
)
SLIDING = Qwen2Config(**SMALL, use_sliding_window=True, sliding_window=64, max_window_layers=0)


LFM2 = Lfm2Config(**SMALL, layer_types=["conv", "full_attention"])


@pytest.mark.parametrize(
    "config",
    [MistralConfig(**SMALL, sliding_window=64), GPT_OSS, SLIDING, pytest.param(LFM2, marks=needs_states)],
    ids=["window", "sinks", "kinds of layers", "convolutions"],
)
def test_models_that_see_a_token_by_its_distance_take_a_tree_with_masks(config: PretrainedConfig) -> None:
    made, fact = chosen(config)
    assert fact == "tree"
    assert (made.packing, made.branch_attention, made.prefix_reusable) == (Packing.tree, False, False)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (RwkvConfig(vocab_size=200, hidden_size=32, num_hidden_layers=2), "the model has no attention heads"),
        (MambaConfig(vocab_size=200, hidden_size=32, num_hidden_layers=2), "the model "),
    ],
    ids=["no cache", "no attention"],
)
def test_models_of_states_alone_fall_back_and_say_why(config: PretrainedConfig, why: str) -> None:
    made, fact = chosen(config)
    assert fact.startswith(f"pad, not tree: {why}")
    assert (made.packing, made.branch_attention, made.prefix_reusable) == (Packing.pad, False, False)


def test_dropout_and_attention_without_masks_fall_back_and_say_why() -> None:
    config = LlamaConfig(**SMALL)
    assert chosen(config, dropout=0.1)[1] == (
        "pad, not tree: lora_dropout=0.1 would change a shared token for all its rows at once"
    )
    assert chosen(config, "flash_attention_2")[1] == (
        "pad, not tree: attention=flash_attention_2 does not support a mask of branches"
    )


NO_HEADS = {name: size for name, size in SMALL.items() if name != "num_key_value_heads"}
GPT2: dict[str, Any] = {"vocab_size": 200, "n_embd": 32, "n_layer": 2, "n_head": 4}


@pytest.mark.parametrize(
    ("config", "chance"),
    [
        (LlamaConfig(**SMALL, attention_dropout=0.2), "attention_dropout=0.2"),
        (GPT2Config(**GPT2, embd_pdrop=0.0, attn_pdrop=0.0), "dropout 0.1 in h.0.attn.resid_dropout"),
        (PhiConfig(**SMALL, resid_pdrop=0.1), "dropout 0.1 in layers.0.resid_dropout"),
        (OPTConfig(**NO_HEADS, word_embed_proj_dim=32), "dropout=0.1"),
        (OPTConfig(**NO_HEADS, word_embed_proj_dim=32, dropout=0.0, layerdrop=0.3), "layerdrop=0.3"),
        (BloomConfig(vocab_size=200, hidden_size=32, n_layer=2, n_head=4, hidden_dropout=0.1), "hidden_dropout=0.1"),
        (SeedOssConfig(**SMALL, attention_dropout=0.0), "residual_dropout=0.1"),
        (PhimoeConfig(**SMALL, router_jitter_noise=0.01), "router_jitter_noise=0.01"),
    ],
    ids=lambda value: getattr(value, "model_type", None),
)
def test_every_dropout_of_a_base_keeps_tokens_from_being_shared(config: PretrainedConfig, chance: str) -> None:
    made, fact = chosen(config)
    assert fact == f"pad, not tree: {chance} would change a shared token for all its rows at once"
    assert made.packing is Packing.pad


def test_dropout_of_a_head_for_classes_or_of_a_tower_does_not_count() -> None:
    zero = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    assert chosen(GPT2Config(**GPT2, **zero, summary_first_dropout=0.1))[1] == "tree"
    vision = {"model_type": "clip_vision_model", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
              "num_attention_heads": 2, "image_size": 16, "patch_size": 8, "attention_dropout": 0.1}  # fmt: skip
    text = {"model_type": "llama", **SMALL}
    assert chosen(LlavaConfig(text_config=text, vision_config=vision), kind=Multimodal)[1] == "tree"


def test_tokens_that_see_later_ones_are_named_unless_they_are_of_an_image() -> None:
    windows = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 64}
    both = Gemma2Config(**SMALL, head_dim=8, **windows, use_bidirectional_attention=True)
    assert chosen(both)[1] == "pad, not tree: use_bidirectional_attention=True lets a token see later ones"
    images = {**SMALL, **windows, "head_dim": 8, "global_head_dim": 8, "use_bidirectional_attention": "vision"}
    assert chosen(AutoConfig.for_model("gemma4_unified_text", **images))[1] == "tree"


@pytest.mark.parametrize("packing", [Packing.pad, Packing.none])
def test_what_is_asked_for_needs_no_excuse(packing: Packing) -> None:
    made, fact = chosen(MistralConfig(**SMALL, sliding_window=64), packing=packing)
    assert (made.packing, fact) == (packing, packing.value)


@pytest.mark.parametrize(
    ("config", "more", "packing", "attention"),
    [
        (LlamaConfig(**SMALL), {}, "tree", "FlexAttention with block masks for trees"),
        (MistralConfig(**SMALL, sliding_window=64), {}, "tree", "FlexAttention with block masks for trees"),
        (
            LlamaConfig(**SMALL), {"dropout": 0.1},
            "rows side by side without padding, not tree: lora_dropout=0.1 would change a shared token for all its "
            "rows at once", "FlexAttention with block masks for trees",
        ),
        (
            LlamaConfig(**SMALL), {"attention": "flash_attention_2"},
            "rows side by side without padding, not tree: attention=flash_attention_2 does not support a mask of "
            "branches", "",
        ),
        (LlamaConfig(**SMALL), {"attention": "eager"}, "tree", "a dense mask for trees, as attention=eager reads it"),
        (
            LlamaConfig(**SMALL), {"attention": "eager", "dropout": 0.1},
            "pad, not tree: lora_dropout=0.1 would change a shared token for all its rows at once", "",
        ),
        pytest.param(LFM2, {}, "tree", "a dense mask for trees, since some layers keep a state", marks=needs_states),
        (LlamaConfig(**SMALL), {"packing": Packing.pad}, "pad", ""),
    ],
)  # fmt: skip
def test_a_gpu_keeps_rows_apart_by_kernels_where_it_can_and_says_which(
    config: PretrainedConfig, more: dict[str, Any], packing: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: True)
    made, fact = chosen(config, device="cuda", **more)
    assert (fact, made.attention) == (packing, attention)
    kernels = attention.startswith("Flex") or "side by side" in packing
    assert (made.branch_attention, made.fused_layers) == (kernels, True)
    assert made.share == (packing in {"tree", "pad"} and "dropout" not in more)


def test_windows_that_only_masks_have_are_left_to_a_dense_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: True)
    monkeypatch.setattr("transformers.MistralForCausalLM._supports_flash_attn", False)
    made, _ = chosen(MistralConfig(**SMALL, sliding_window=64), device="cuda")
    assert (made.branch_attention, made.attention) == (
        False, "a dense mask for trees, since only its masks have its windows"
    )  # fmt: skip


def test_without_triton_a_tree_comes_with_a_dense_mask_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_choice, "find_spec", lambda _: None)
    made, _ = chosen(LlamaConfig(**SMALL), device="cuda")
    assert (made.packing, made.branch_attention, made.fused_layers) == (Packing.tree, False, True)
    assert made.attention == "a dense mask for trees, since triton is not installed"
    assert chosen(LlamaConfig(**SMALL), quantized=BitsAndBytesConfig(load_in_4bit=True))[0].fused_layers
    assert chosen(LlamaConfig(**SMALL), quantized=BitsAndBytesConfig(load_in_8bit=True))[0].unfused
    assert not chosen(LlamaConfig(**SMALL), "eager")[0].branch_attention


def test_a_pair_costs_what_its_arithmetic_takes_times_what_attention_is_slower() -> None:
    with torch.device("meta"):
        model = Auto.from_config(LlamaConfig(**SMALL, tie_word_embeddings=True))
    weights = sum(part.numel() for name, part in model.named_parameters() if "embed" not in name)
    assert pair_cost(model) == pytest.approx(4 * (4 * 32 * 2) / (2 * weights))
