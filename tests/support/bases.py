"""Tiny random models of several families as folders on disk, and adapters that peft saves for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.support.tiny import tiny_chatml

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


needs_states = pytest.mark.skipif(
    Version(version("transformers")) < Version("5.24"), reason="trees have no states with an older transformers"
)


def tiny_base(folder: Path, family: str, *, dtype: str = "float32", shards: str = "5GB", **changes: Any) -> Path:
    """Write a random model of a family with a ChatML tokenizer; `changes` are of its config."""
    words = tiny_chatml(folder.parent / f"{folder.name}-tokenizer")
    tokens = {name: number for name, number in _read(words / "config.json").items() if name.endswith("token_id")}
    vocab = _read(words / "config.json")["vocab_size"]
    write_model(folder, FAMILIES[family](vocab) | tokens | changes, dtype=dtype, shards=shards)
    for name in (*TOKENIZER, "generation_config.json"):
        shutil.copy(words / name, folder / name)
    return folder


def write_model(
    folder: Path, settings: Mapping[str, Any], *, dtype: str = "float32", shards: str = "5GB", scale: float = 1.0
) -> None:
    """Write a random model of a config, with its parts for images; matrices are `scale` times as large as usual."""
    import torch
    import transformers

    from framework_plugins.lib.auto_class import auto_class

    config = transformers.AutoConfig.for_model(**settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        images = "vision_config" in settings
        kind = transformers.AutoModelForMultimodalLM if images else auto_class(transformers, config.to_dict())
        model = kind.from_config(config, dtype=getattr(torch, dtype))
        for weight in model.parameters():
            if not weight.isfinite().all():  # of classes that leave some without first values
                weight.data.normal_(std=0.02)
    for weight in model.parameters():
        weight.data *= scale if weight.dim() > 1 else 1
    model.save_pretrained(folder, max_shard_size=shards)


def _read(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def _like(model_type: str, **changes: Any) -> Callable[[int], dict[str, Any]]:
    return lambda vocab: {"model_type": model_type, "vocab_size": vocab, **SIZES, **changes}


def _gpt2(vocab: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "vocab_size": vocab, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}


def _mllama(vocab: int) -> dict[str, Any]:
    """Return Llama 3.2 Vision, whose embedding has eight rows more than its head."""
    text = _like("mllama_text_model", cross_attention_layers=[1], pad_token_id=0)(vocab)
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_global_layers": 1, "image_size": 16,
        "attention_heads": 2, "patch_size": 8, "vision_output_dim": 32, "intermediate_layers_indices": [0],
        "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]],
    }  # fmt: skip
    return {"model_type": "mllama", "text_config": text, "vision_config": vision}


def _zamba2(vocab: int) -> dict[str, Any]:
    """Return a model two of whose layers share their weights, and have norms of their own."""
    sizes = {name: size for name, size in SIZES.items() if name != "head_dim"}
    states = {"mamba_d_state": 8, "n_mamba_heads": 4, "mamba_ngroups": 1, "chunk_size": 16}
    kinds = {"layers_block_type": ["hybrid", "hybrid"], "num_mem_blocks": 1, "num_key_value_heads": 4}
    return {"model_type": "zamba2", "vocab_size": vocab, **sizes, **states, **kinds}


def _gemma3(vocab: int) -> dict[str, Any]:
    """Return Gemma 3 with images."""
    text = {"model_type": "gemma3_text", "vocab_size": vocab, **SIZES, "tie_word_embeddings": True}
    vision = {
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
        "patch_size": 8,
    }  # fmt: skip
    return {"model_type": "gemma3", "text_config": text, "vision_config": vision, "mm_tokens_per_image": 4}


LINEAR_ATTENTION = {
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1, "mamba_chunk_size": 16}
WINDOWS = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 24}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}


def _gemma4(vocab: int) -> dict[str, Any]:
    sizes = _like("gemma4_text", global_head_dim=16, hidden_size_per_layer_input=8, **WINDOWS)(vocab)
    return {**sizes, "vocab_size_per_layer_input": vocab, "tie_word_embeddings": True}


def _mistral3(vocab: int) -> dict[str, Any]:
    """Return the wrapper in which Ministral 3 and Mistral Small 3 are published."""
    vision = {
        "model_type": "pixtral", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "head_dim": 8, "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    text = _like("ministral3")(vocab)
    return {"model_type": "mistral3", "text_config": text, "vision_config": vision, "image_token_index": 5}


FAMILIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "llama": _like("llama", tie_word_embeddings=False),
    "qwen3": _like("qwen3", tie_word_embeddings=True),
    "gemma3_text": _like("gemma3_text", tie_word_embeddings=True),
    "phi3": _like("phi3", tie_word_embeddings=False),
    "mixtral": _like("mixtral", tie_word_embeddings=False, num_local_experts=2),
    "gpt2": _gpt2,
    "gemma3": _gemma3,
    "qwen3_moe": _like("qwen3_moe", tie_word_embeddings=False, **ROUTED),
    "qwen3_5_text": _like("qwen3_5_text", tie_word_embeddings=True, **LINEAR_ATTENTION),
    "qwen3_5_moe_text": _like(
        "qwen3_5_moe_text", shared_expert_intermediate_size=16, **ROUTED, **LINEAR_ATTENTION
    ),
    "gemma4_text": _gemma4,
    "gpt_oss": _like("gpt_oss", num_local_experts=4, num_experts_per_tok=2, **WINDOWS),
    "lfm2": _like("lfm2", layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
    "granitemoehybrid": _like(
        "granitemoehybrid", num_local_experts=4, shared_intermediate_size=32,
        layer_types=["linear_attention", "full_attention"], **MAMBA,
    ),
    "deepseek_v3": _like(
        "deepseek_v3", q_lora_rank=16, kv_lora_rank=8, qk_rope_head_dim=4, v_head_dim=8, qk_nope_head_dim=4,
        n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, moe_intermediate_size=16,
        first_k_dense_replace=1, num_key_value_heads=4, head_dim=4,
    ),
    "mistral3": _mistral3,
    "falcon_h1": _like("falcon_h1", mamba_d_ssm=64, **MAMBA),
    # Its files hold one matrix that transformers cuts into four.
    "lara_mini": _like("lara_mini", shared_expert_intermediate_size=16, **ROUTED, **LINEAR_ATTENTION),
    "mllama": _mllama,
    "zamba2": _zamba2,
}  # fmt: skip
MODELS = Path(getattr(find_spec("transformers"), "origin", "")).parent / "models"
if not (MODELS / "lara_mini").is_dir():  # the oldest transformers that is supported does not have it
    del FAMILIES["lara_mini"]


def adapted(base: Path, folder: Path, **settings: Any) -> Any:
    """Write a random adapter for a base, as peft saves one, and return the model that has it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if grown := settings.pop("tokens", None):
        model.resize_token_embeddings(grown, mean_resizing=False)
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | settings
    )
    saved = {"save_embedding_layers": bool(grown)}
    peft_model = get_peft_model(model, config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for name, weight in peft_model.named_parameters():
            if weight.requires_grad:
                noise = torch.randn_like(weight)
                weight.data = weight.data * (1 + 0.1 * noise) if "magnitude" in name else weight.data + 0.1 * noise
    peft_model.peft_config["default"].base_model_name_or_path = str(base)
    peft_model.save_pretrained(folder, **saved)
    return peft_model.eval()
