"""What config.json says, with the names and values that llama.cpp's converter looks for.

The converter lets transformers read the file. Since version 5 transformers stores some settings in another form, under
other names, or computes them, and leaves their former names out. They are added here: from the file, which is the one
that the converter was written for, or from what replaced them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING, AutoConfig

from framework_plugins.exports.export_folder import MODEL_CONFIG, read_json

PLAIN_ROPE = "default"
"""The type of positions that are not scaled."""
SPARSE = "sparse"
"""The kind of a block with experts."""
COMPUTED = ("num_hidden_layers", "hybrid_override_pattern")
"""Settings that some config classes compute from others."""
ROPE_SETTINGS = ("rope_theta", "original_max_position_embeddings")
"""Settings of positions that the file had beside the others, before transformers put them together."""
ATTENTIONS = ("full_attention", "sliding_attention")
GLOBAL = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
"""What layers with full attention have differently from those with a window, by the name in a layer's config."""
WINDOWED = ("head_dim", "v_head_dim", "num_attention_heads", "num_key_value_heads")
"""What layers with a window may have differently, by the name in a layer's config; a converter looks for swa_head_dim
and the like."""
SIGMOID_ROUTERS = ("deepseek_v3", "glm4_moe_lite", "glm_moe_dsa")
"""Families whose classes have one way to score experts, while a converter looks for scoring_func; without it, llama.cpp
guesses by the numbers of layers and tokens."""
FORMER_LAYERS = {"full_attention": "attention", "linear_attention": "mamba"}
"""What the converters of hybrids with Mamba call layers."""


def read_hparams(conversion: Any, folder: Path) -> dict[str, Any]:
    """Return the settings of a model folder, by llama.cpp's package `conversion`."""
    hparams: dict[str, Any] = conversion.ModelBase.load_hparams(folder, False)  # noqa: FBT003 - theirs
    stored = read_json(folder / MODEL_CONFIG)
    if stored.get("model_type") not in CONFIG_MAPPING:
        return hparams
    return _complete_settings(hparams, stored, AutoConfig.from_pretrained(folder))


def for_converter(kind: Any, hparams: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the names of layers that a class of converters compares with."""
    names = hparams.get("layer_types")
    if not hasattr(kind, "get_attn_layers") or not names:
        return dict(hparams)
    return {**hparams, "layer_types": [FORMER_LAYERS.get(name, name) for name in names]}


def _complete_settings(hparams: Mapping[str, Any], stored: Mapping[str, Any], config: Any) -> dict[str, Any]:
    settings = {**dict(_converted_settings(config)), **stored, **hparams}
    for name in config.sub_configs:
        part = getattr(config, name, None)
        if part is not None and isinstance(settings.get(name), dict):
            settings[name] = _complete_settings(settings[name], stored.get(name) or {}, part)
    return settings


def _converted_settings(config: Any) -> Iterator[tuple[str, Any]]:
    """Give the settings that transformers stores in another form."""
    for name in COMPUTED:
        if hasattr(type(config), name):
            yield name, getattr(config, name)
    if (longest := getattr(config, "max_position_embeddings", None)) is not None:
        yield "n_ctx", longest
    rope = getattr(config, "rope_parameters", None) or {}
    if "rope_type" in rope:
        if rope["rope_type"] != PLAIN_ROPE:
            yield "rope_scaling", rope
        yield from ((name, rope[name]) for name in ROPE_SETTINGS if name in rope)
        share = rope.get("partial_rotary_factor", 1.0)
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shares = ("partial_rotary_factor", "rotary_pct")  # without one, converters of a family take its usual share
        yield from ((name, share) for name in shares)
        yield "rotary_dim", int(width * share)
    if config.model_type in SIGMOID_ROUTERS:
        yield "scoring_func", "sigmoid"
    if blocks := getattr(config, "mlp_layer_types", None):
        yield "first_k_dense_replace", blocks.index(SPARSE) if SPARSE in blocks else len(blocks)
    kinds = getattr(config, "layer_types", None) or []
    full, windowed = (
        next((n for n, layer_type in enumerate(kinds) if layer_type == kind), None) for kind in ATTENTIONS
    )
    if full is not None:
        layer = config.per_layer_config[full]
        yield from ((former, getattr(layer, name)) for name, former in GLOBAL.items() if hasattr(layer, name))
    if windowed is not None:
        layer = config.per_layer_config[windowed]
        yield from ((f"swa_{name}", getattr(layer, name)) for name in WINDOWED if hasattr(layer, name))
