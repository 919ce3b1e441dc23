"""How a model is computed: for which models a tree is the same training, by their config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch.nn.modules.dropout import _DropoutNd
from transformers import PreTrainedModel

from framework_plugins.hf.packing.parts import ATTENTION_COST
from framework_plugins.hf.packing.tree_states import HYBRID_KIND, STATE_KINDS, state_layers
from framework_plugins.hf.settings.attention import SINKS, flex_problem
from framework_plugins.hf.settings.config import Attention, HFTrainerConfig, Packing, Switch

FLASH = Attention.flash_attention_2.value
MASKED = (Attention.sdpa.value, Attention.eager.value, SINKS)
"""What takes a mask of pairs."""
FULL_KIND, WINDOW_KIND = "full_attention", "sliding_attention"
MASKED_KINDS = frozenset({FULL_KIND, WINDOW_KIND})
"""Kinds of layers, as transformers names them, in which a mask says which tokens a token sees."""
TOKEN_KINDS = frozenset({"mlp", "moe"})
"""Kinds of layers in which a token sees only itself."""
CHOSEN_TOKENS = {
    "index_topk": "compress_rates",
    "index_topk_blocks": "index_block_size",
    "indexer_budget": "",
    "keep_window_size": "",
}
"""What configs call the number of tokens, or blocks, among all before it that a token attends to; the size of a block.
"""
RANDOM = re.compile("drop(?!less)|jitter")
"""In the names of attributes of modules: what changes tokens by chance in training, or leaves a layer out."""
STATES_SINCE = Version("5.24")
"""With transformers 5.17, gradients through the states of a tree are off by up to 0.4%; this version was compared."""


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """How a model is computed.

    Attributes:
        packing: how rows are put together.
        pair_cost: what a pair of tokens costs in attention, see `pair_cost`.
        prefix_reusable: whether a beginning has the same states whatever follows, and however far behind.
        branch_attention: whether attention goes along branches by itself; else a tree comes with a dense mask.
        fused_layers: whether layers are replaced by those of that room, where these give the same.
        unfused: why not, for those who read it.
        share: whether rows in a tree share their beginnings; else they are side by side.
        attention: how attention goes along branches on a GPU, and why, for those who read it.
        packed_experts: whether experts are in four bits, see `load/packed_experts.py`.
    """

    packing: Packing
    pair_cost: float
    prefix_reusable: bool
    branch_attention: bool
    fused_layers: bool
    share: bool = True
    attention: str = ""
    packed_experts: bool = False
    unfused: str = ""


def forward_plan(
    config: HFTrainerConfig, model: torch.nn.Module, attention: str, device: str, adapter: Any, quantized: Any
) -> tuple[ForwardPlan, str]:
    """Choose, and say how rows are packed.

    Args:
        config: the settings.
        model: the base, with or without memory for its weights.
        attention: its attention implementation.
        device: cpu or cuda.
        adapter: the peft config, None if all weights are trained.
        quantized: how the base is, as transformers has it; None if it is not.
    """
    far, windows = distance_dependence(model), mask_windows(model)
    why = "" if windows else far  # masks of the layers' windows make the rows the same
    why = why or tree_refusal(model, attention, config.neftune_noise_alpha)
    sharing_problem = sharing_refusal(attention, getattr(adapter, "lora_dropout", 0.0))
    on_cpu, blocks = device == "cpu", _without_blocks(model, config, attention, windows)
    kernels = attention == FLASH or not blocks  # that keep rows side by side apart, on a GPU
    if on_cpu or not kernels:
        why = why or sharing_problem
    packing = Packing.pad if why and config.packing is Packing.tree else config.packing
    tree = packing is Packing.tree
    branches = tree and (attention == "sdpa" and not far if on_cpu else kernels)
    unfused = _without_fused_layers(config, adapter, quantized, on_cpu=on_cpu)
    fact = packing.value if packing is config.packing else f"{packing.value}, not tree: {why}"
    fact = f"rows side by side without padding, not tree: {sharing_problem}" if tree and sharing_problem else fact
    note = "" if on_cpu or not tree or attention == FLASH else f"a dense mask for trees, {blocks}"
    note = "FlexAttention with block masks for trees" if note and not blocks else note
    return ForwardPlan(
        packing, pair_cost(model), not far, branches, not unfused, not sharing_problem, note, unfused=unfused
    ), fact


def _without_fused_layers(config: HFTrainerConfig, adapter: Any, quantized: Any, *, on_cpu: bool) -> str:
    """Say why layers stay as transformers and peft have them; empty if they are compared with fused ones."""
    if config.fused_layers is Switch.disabled:
        return "trainer.fused_layers=disabled"
    if adapter is None:
        return "all weights are trained"
    if quantized is not None and not getattr(quantized, "load_in_4bit", False):
        return "products of weights in 8 bits have no other form"
    autocast = not on_cpu or quantized is not None
    return "DoRA takes norms of whole weights" if autocast and getattr(adapter, "use_dora", False) else ""


def _without_blocks(model: Any, config: HFTrainerConfig, attention: str, windows: Mapping[str, int]) -> str:
    """Say why a GPU does not take FlexAttention for trees; empty if it does."""
    is_open = config.attention is Attention.auto and attention == "sdpa"
    # Models that support flash attention give their windows to their attention.
    needs_masks = any(windows.values()) and not getattr(model, "_supports_flash_attn", False)
    return flex_problem(
        requested="" if is_open else attention, keeps_states=bool(state_layers(model)), needs_masks=needs_masks
    )


def distance_dependence(model: Any) -> str:
    """Return what in a model sees a token by its distance or its place in the batch; empty if nothing does."""
    config = model.config.get_text_config()
    kinds = {str(kind) for kind in getattr(config, "layer_types", None) or []} - {"full_attention"}
    if kinds:
        return _sees_later(config) or f"the model has layers of the kind {', '.join(sorted(kinds))}"
    if not _has_attention(config):
        return "the model has no attention heads"
    windows = _window_sizes(config)
    if windows and getattr(config, "use_sliding_window", True):
        return f"the model has a sliding window of {' and '.join(map(str, sorted(windows)))} tokens"
    if any("sink" in name.rpartition(".")[2] for name, _ in model.named_parameters()):
        return "the model has attention sinks"
    return ""


def mask_windows(model: Any) -> Mapping[str, int]:
    """Return how many tokens back a token sees in each kind of layer, 0 for all, if a mask can say it.

    The kind "" means all layers of a model that takes one mask. Empty if neither masks nor states at the branches say
    what a token sees.
    """
    config = model.config.get_text_config()
    every = [str(kind) for kind in getattr(config, "layer_types", None) or []]
    states = [kind for kind in every if kind in STATE_KINDS]
    kinds = {*every} - TOKEN_KINDS - STATE_KINDS | ({FULL_KIND} if HYBRID_KIND in states else set())
    sizes = _window_sizes(config)
    if states and Version(transformers.__version__) < STATES_SINCE:
        return {}
    if (
        (not kinds and (states or not _has_attention(config)))  # such a model takes one mask, of padding
        or len(states) != len(state_layers(model))
        or kinds - MASKED_KINDS
        or _sees_later(config)
    ):
        return {}
    if WINDOW_KIND in kinds:
        return {FULL_KIND: 0, WINDOW_KIND: sizes.pop()} if len(sizes) == 1 else {}
    if sizes and not kinds and getattr(config, "use_sliding_window", True):
        return {"": sizes.pop()} if len(sizes) == 1 else {}
    return dict.fromkeys(kinds or {""}, 0)


def _sees_later(config: Any) -> str:
    """Say that a token of a text may see later ones; empty if only those of an image do."""
    value = getattr(config, "use_bidirectional_attention", None)
    sees_later = value not in {None, False, "vision"}
    return f"use_bidirectional_attention={value} lets a token see later ones" if sees_later else ""


def sharing_refusal(attention: str, lora_dropout: float) -> str:
    """Return what keeps rows in one sequence from sharing their beginnings; empty if nothing does.

    Args:
        attention: the implementation of the model.
        lora_dropout: the dropout of its adapter.
    """
    if attention not in MASKED:
        return f"attention={attention} does not support a mask of branches"
    if lora_dropout:
        return f"lora_dropout={lora_dropout:g} would change a shared token for all its rows at once"
    return ""


def tree_refusal(model: Any, attention: str, noise: float | None = None) -> str:
    """Return what keeps the rows of a model from being one sequence in training; empty if nothing does.

    Args:
        model: the model, with or without memory for its weights.
        attention: its attention implementation.
        noise: NEFTune's, on the embeddings.
    """
    if attention not in {*MASKED, FLASH}:
        return f"attention={attention} does not support a mask of branches"
    if chance := base_dropout(model):
        return f"{chance} would change a shared token for all its rows at once"
    if noise:
        return f"neftune_noise_alpha={noise:g} would change a shared token for all its rows at once"
    return ""


def base_dropout(model: Any) -> str:
    """Return what of a base acts by chance in training; empty if nothing does.

    Args:
        model: the base without an adapter, with or without memory for its weights.
    """
    decoder = model.get_decoder()
    inner = {name: part for name, part in decoder.named_modules() if name and isinstance(part, PreTrainedModel)}
    towers = tuple(f"{name}." for name, part in inner.items() if type(part.config) is not type(decoder.config))
    for name, part in decoder.named_modules():
        if f"{name}.".startswith(towers):  # of images or sound
            continue
        if isinstance(part, _DropoutNd) and part.p > 0:
            return f"dropout {part.p:g} in {name}"
        for key, value in vars(part).items():
            if isinstance(value, float) and value > 0 and RANDOM.search(key):
                return f"{key}={value:g}"
    return ""


def chosen_tokens(config: Any) -> int:
    """Return how many tokens a token attends to, of those that its layer chooses; 0 if it attends to all.

    Args:
        config: of the part of a model that reads text.
    """
    for name, block in CHOSEN_TOKENS.items():
        if count := getattr(config, name, None):
            size = getattr(config, block, 1) if block else 1
            return int(count * (min(size.values()) if isinstance(size, Mapping) else size))
    return 0


def pair_cost(model: Any) -> float:
    """Return what a pair of tokens costs in attention, in units of what a token costs in the linear layers.

    A token takes 2 multiplications and additions a weight, a pair 4 a feature of the heads and layer: scores and sum.
    """
    tables = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part}
    weights = sum(part.numel() for part in model.parameters() if id(part) not in tables)
    features = sum(_features_by_layer(model.config.get_text_config()))
    return float(ATTENTION_COST * 4 * features / (2 * weights))


def _has_attention(config: Any) -> bool:
    return any(_features_by_layer(config))


def _features_by_layer(config: Any) -> list[int]:
    return [_attention_features(layer) for layer in _layer_configs(config)]


def _layer_configs(config: Any) -> list[Any]:
    """Return the config of each layer: in some models, layers differ in what others have once."""
    return list(config.per_layer_config) if hasattr(config, "num_hidden_layers") else []


def _window_sizes(config: Any) -> set[int]:
    """Return the sizes of the sliding windows of all layers."""
    return {int(getattr(layer, "sliding_window", None) or 0) for layer in _layer_configs(config)} - {0}


def _attention_features(layer: Any) -> int:
    """Return the features of all heads of a layer; 0 if it has no attention heads."""
    heads = getattr(layer, "num_attention_heads", None) or 0
    return heads * (getattr(layer, "head_dim", None) or layer.hidden_size // heads) if heads else 0
