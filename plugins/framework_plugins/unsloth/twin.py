"""A tiny random model of the architecture in a config.json, for tests that take seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "max_position_embeddings": 512,
    "max_window_layers": 2,
}
"""Sizes, where the config has them. 4-bit layers want 64 features and more."""
VOCABULARY, LAYERS = 512, 2
DROPPED = ("architectures", "auto_map", "quantization_config", "transformers_version", "dtype", "torch_dtype")
NO_DROPOUT = 1e-12
"""A share that drops nothing, and goes the way of one that does: what is compared may not hang on chance."""
ROPE = ("rope_scaling", "rope_parameters")
"""Where these hold lists, the lists are as long as a head is wide."""
ROLES = {"pad_token": "t0", "bos_token": "t1", "eos_token": "t2", "unk_token": "t3"}
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def make(config: Mapping[str, Any], folder: Path) -> Path:
    """Write the twin of a model, and a tokenizer of numbers.

    Args:
        config: what config.json says.
        folder: where to.

    Raises:
        Exception: transformers cannot make a small one of this kind, with whatever error.
    """
    settings = {**config, **config["text_config"]} if isinstance(config.get("text_config"), Mapping) else dict(config)
    kind = settings.pop("model_type")
    made = AutoConfig.for_model(kind, **_small(settings))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(made).save_pretrained(folder)
    words = {f"t{number}": number for number in range(VOCABULARY)}
    cut = Tokenizer(models.WordLevel(words, unk_token=ROLES["unk_token"]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=cut, chat_template=TEMPLATE, **ROLES)
    tokenizer.save_pretrained(folder)
    return folder


def _small(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with small sizes, and two kinds of layers where there are several."""
    kept = {name: value for name, value in config.items() if name not in DROPPED and not name.endswith("_config")}
    kept |= {name: NO_DROPOUT for name, value in kept.items() if _drops(name) and isinstance(value, float) and value}
    for name in ROPE:
        if any(isinstance(part, list) for part in (kept.get(name) or {}).values()):
            del kept[name]
    small: dict[str, Any] = {name: size for name, size in SMALL.items() if kept.get(name) is not None}
    if kept.get("num_key_value_heads") == kept.get("num_attention_heads"):
        small.pop("num_key_value_heads", None)
        small |= {"num_key_value_heads": SMALL["num_attention_heads"]} if "num_key_value_heads" in kept else {}
    if layers := kept.get("layer_types"):
        kinds = [*dict.fromkeys(layers)]
        small["layer_types"] = [kinds[0], kinds[-1]]
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return {**kept, **small, **tokens, "vocab_size": VOCABULARY, "num_hidden_layers": LAYERS}


def _drops(name: str) -> bool:
    return "dropout" in name or name.endswith("pdrop")
