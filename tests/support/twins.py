"""Tiny random models of the families that people train, of sizes that llama.cpp takes, from training to GGUF."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.bases import LINEAR_ATTENTION, MAMBA, SIZES, write_model
from tests.support.families import make_tokenizer, stop_ids

Config = Callable[[int], dict[str, Any]]
DEEP = {"num_hidden_layers": 4, "max_position_embeddings": 4096}
"""Tools make a prompt long."""
SCALE = 4.0
"""Weights as transformers makes them give answers that hardly differ."""
KNOWN_ENDS = ("<|endoftext|>",)
"""Tokens at which llama.cpp ends an answer by itself; a random model says any."""
VOCABULARY_MULTIPLE = 32
"""Published models have such a number of rows, which some converters require; Gemmas have one for each token."""


@dataclass(frozen=True)
class Twin:
    """A model's config by the number of tokens, the family of its tokenizer and template, and what a run of it sets.

    `short` says that it is trained on short rows only, and `package` is one that transformers needs to build the class.
    `published` has what the config.json of the family's publisher says, and transformers does not write.
    """

    config: Config
    tokenizer: str
    words: tuple[str, ...] = ()
    short: bool = False
    package: str = ""
    published: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, sizes: Mapping[str, int] = MappingProxyType({}), scale: float = SCALE) -> Path:
        """Write the model, its tokenizer and its stop tokens; `sizes` are other ones of its text part."""
        from transformers import GenerationConfig

        tokenizer = make_tokenizer(self.tokenizer)
        multiple = 1 if self.tokenizer.startswith("gemma") else VOCABULARY_MULTIPLE
        settings = self.config(-(-len(tokenizer) // multiple) * multiple)
        tokens = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
        for part in (settings, *([settings["text_config"]] if "text_config" in settings else [])):
            part.update(tokens)
        text = settings.get("text_config", settings)
        text.update({name: size for name, size in sizes.items() if name in text})
        write_model(folder, settings, scale=scale)
        if self.published:
            add_published(folder / "config.json", self.published)
        known = {number for token, number in tokenizer.get_vocab().items() if token in KNOWN_ENDS}
        GenerationConfig(eos_token_id=sorted(stop_ids(self.tokenizer) | known)).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder


def add_published(file: Path, published: Mapping[str, Any]) -> None:
    """Add settings to a config.json, those of a part to the settings that the part has."""
    config = json.loads(file.read_text(encoding="utf-8"))
    for name, value in published.items():
        config[name] = config[name] | value if isinstance(value, Mapping) else value
    file.write_text(json.dumps(config), encoding="utf-8")


def _text(model_type: str, **changes: Any) -> Config:
    return lambda vocab: {"model_type": model_type, "vocab_size": vocab, **SIZES, **DEEP, **changes}


def _sees(model_type: str, text: Config, vision: Mapping[str, Any], **changes: Any) -> Config:
    """Return the class in which a family with images is published; its vision tower has one layer."""
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    return lambda vocab: {
        "model_type": model_type, "text_config": text(vocab), "vision_config": {**tower, **vision}, **changes
    }  # fmt: skip


def _every(full: int, other: str) -> list[str]:
    """Return the kinds of four layers, of which each `full`th has full attention."""
    return [other if (number + 1) % full else "full_attention" for number in range(4)]


WINDOW = {"sliding_window": 24}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
SHARED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "qk_nope_head_dim": 4, "head_dim": 4,
    "num_key_value_heads": 4,
}  # fmt: skip
DELTA = {**LINEAR_ATTENTION, "layer_types": _every(4, "linear_attention"), "head_dim": 32}
MROPE = {
    "rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.25, "mrope_section": [2, 1, 1],
    "mrope_interleaved": True,
}  # fmt: skip
QWEN_SEES = {"depth": 1, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4, "num_position_embeddings": 16}
PIXTRAL = {"model_type": "pixtral", "head_dim": 8, "image_size": 28, "patch_size": 14}
YARN = {
    "rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 32.0,
    "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
}  # fmt: skip
GEMMA_SEES = {"num_key_value_heads": 2, "head_dim": 8, "patch_size": 4, "position_embedding_size": 16}


def _with_layer_inputs(model_type: str, **changes: Any) -> Config:
    return lambda vocab: _text(model_type, vocab_size_per_layer_input=vocab, **changes)(vocab)


def _gemma4(**changes: Any) -> Config:
    layers = {"layer_types": _every(2, "sliding_attention"), "global_head_dim": 16, "tie_word_embeddings": True}
    text = _with_layer_inputs("gemma4_text", **{"hidden_size_per_layer_input": 0, **WINDOW, **layers, **changes})
    return _sees("gemma4", text, GEMMA_SEES)


GEMMA3N = _with_layer_inputs(
    "gemma3n_text", num_hidden_layers=5, layer_types=["sliding_attention"] * 4 + ["full_attention"],
    hidden_size_per_layer_input=256, laurel_rank=64, num_kv_shared_layers=0, tie_word_embeddings=True,
    activation_sparsity_pattern=[0.95] * 5,
    intermediate_size=16384,  # llama.cpp takes another deviation, which shows with few features
    **WINDOW,
)  # fmt: skip


def _gemma3n(vocab: int) -> dict[str, Any]:
    """Return the class in which Gemma 3n is published, with towers for images and sound."""
    sound = {"hidden_size": 16, "conf_num_hidden_layers": 1, "conf_num_attention_heads": 2, "input_feat_size": 16,
             "sscp_conv_channel_size": [4, 4]}  # fmt: skip
    images = {"architecture": "test_resnet", "hidden_size": 16}
    return {"model_type": "gemma3n", "text_config": GEMMA3N(vocab), "vision_config": images, "audio_config": sound}


def _nemotron_h(*kinds: str) -> Config:
    mamba = {"mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 1, "chunk_size": 16}
    routed = {"n_routed_experts": 4, "moe_intermediate_size": 16, "moe_shared_expert_intermediate_size": 32}
    made = _text("nemotron_h", layers_block_type=list(kinds), **mamba, **routed)
    return lambda vocab: {name: value for name, value in made(vocab).items() if name != "num_hidden_layers"}


THINKS_NOT = ("model.thinking=off",)
TWINS: Mapping[str, Twin] = {
    "Qwen3.5, Qwen3.6": Twin(
        _sees("qwen3_5", _text("qwen3_5_text", rope_parameters=MROPE, tie_word_embeddings=True, **DELTA), QWEN_SEES,
            tie_word_embeddings=True),
        "qwen3_5", THINKS_NOT,
    ),
    "Qwen3.5 MoE": Twin(
        _sees(
            "qwen3_5_moe",
            _text(
                "qwen3_5_moe_text", rope_parameters=MROPE, shared_expert_intermediate_size=16, **ROUTED, **DELTA
            ),
            QWEN_SEES,
        ),
        "qwen3_5", THINKS_NOT,
    ),
    "Qwen3 MoE": Twin(_text("qwen3_moe", norm_topk_prob=True, **ROUTED), "qwen3_published"),
    "Qwen3 MoE, experts": Twin(
        _text("qwen3_moe", norm_topk_prob=True, **ROUTED), "qwen3_2507", ("adapter.experts=all",)
    ),
    "Qwen3-Next": Twin(_text("qwen3_next", shared_expert_intermediate_size=16, **ROUTED, **DELTA), "qwen3_2507"),
    "Gemma 4 E2B, E4B": Twin(
        _gemma4(hidden_size_per_layer_input=8, num_kv_shared_layers=2, use_double_wide_mlp=True), "gemma4"
    ),
    "Gemma 4 12B, 31B": Twin(
        _gemma4(attention_k_eq_v=True, num_global_key_value_heads=1, use_bidirectional_attention="vision"), "gemma4"
    ),
    "Gemma 4 A4B": Twin(
        _gemma4(enable_moe_block=True, top_k_experts=4, num_experts=4, moe_intermediate_size=16), "gemma4"
    ),
    "Gemma 3n": Twin(_gemma3n, "gemma3", package="timm"),
    "Gemma 3n, text": Twin(GEMMA3N, "gemma3"),
    "gpt-oss": Twin(
        _text(
            "gpt_oss", num_local_experts=4, num_experts_per_tok=2, layer_types=_every(2, "sliding_attention"),
            max_position_embeddings=256, **WINDOW
        ),
        "qwen3", short=True,
    ),
    "Ministral 3": Twin(
        _sees("mistral3", _text("ministral3", rope_parameters=YARN, max_position_embeddings=256), PIXTRAL),
        "mistral_v7", short=True,
    ),
    "Mistral Small 3": Twin(
        _sees("mistral3", _text("mistral", max_position_embeddings=256), PIXTRAL), "mistral_v7", short=True
    ),
    "Muse Glimmer": Twin(
        _sees("muse_glimmer", _text("muse_glimmer_text", num_attention_heads=4, **WINDOW), {"patch_size": 4}),
        "muse_glimmer",
    ),
    "LFM2, LFM2.5": Twin(_text("lfm2", layer_types=_every(2, "conv"), block_auto_adjust_ff_dim=False), "lfm2"),
    "LFM2 MoE": Twin(_text("lfm2_moe", layer_types=_every(2, "conv"), num_dense_layers=1, **ROUTED), "lfm2"),
    "Granite 4 hybrid": Twin(
        _text(
            "granitemoehybrid", num_local_experts=4, num_experts_per_tok=2, shared_intermediate_size=32,
            layer_types=_every(2, "linear_attention"), **MAMBA,
        ),
        "granite4",
    ),
    "Nemotron-H": Twin(_nemotron_h("linear_attention", "mlp", "full_attention", "mlp"), "nemotron_h"),
    "Nemotron 3 MoE": Twin(
        _nemotron_h("linear_attention", "moe", "full_attention", "moe"), "nemotron3", THINKS_NOT
    ),
    "Falcon-H1": Twin(_text("falcon_h1", mamba_d_ssm=64, **MAMBA), "falcon_h1"),
    "GLM-4.5 to 4.7": Twin(_text("glm4_moe", num_mtp_layers=0, **SHARED), "glm4"),
    "GLM-4.7 Flash": Twin(_text("glm4_moe_lite", n_routed_experts=4, moe_intermediate_size=16, **LATENT), "glm4"),
    "DeepSeek-V3": Twin(_text("deepseek_v3", n_group=1, topk_group=1, **SHARED, **LATENT), "deepseek_v3"),
    "Olmo 3": Twin(_text("olmo3", layer_types=_every(4, "sliding_attention"), **WINDOW), "olmo3"),
    "SmolLM3": Twin(_text("smollm3"), "smollm3"),
    "Phi-4": Twin(_text("phi3"), "phi4"),
    "Phi-4 mini": Twin(
        _text(
            "phi3", partial_rotary_factor=0.75, original_max_position_embeddings=2048, max_position_embeddings=4096,
            tie_word_embeddings=True,
            rope_parameters={"rope_type": "longrope", "rope_theta": 1e4, "partial_rotary_factor": 0.75,
                             "short_factor": [1.0, 1.1, 1.2], "long_factor": [1.0, 2.0, 4.0]},
        ),
        "phi4", short=True,
    ),
    "Llama 4": Twin(
        _sees(
            "llama4", _text("llama4_text", num_local_experts=2, intermediate_size=32, intermediate_size_mlp=64),
            {"patch_size": 14, "image_size": 28, "vision_output_dim": 32, "projector_input_dim": 32,
             "projector_output_dim": 32},
        ),
        "llama4",
    ),
}  # fmt: skip
"""By what people call them; with experts, only where it says so."""

MIXTURES = (
    "Qwen3 MoE", "Qwen3.5 MoE", "Gemma 4 A4B", "gpt-oss", "LFM2 MoE", "Granite 4 hybrid",
    "Nemotron 3 MoE", "GLM-4.5 to 4.7", "GLM-4.7 Flash", "DeepSeek-V3",
)  # fmt: skip
"""Those with experts that `quantization=nf4` packs."""
