"""For which models a tree is the same training: by their config, and by a test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from framework_plugins.hf.packing.parts import ATTENTION
from framework_plugins.hf.settings.config import HFTrainerConfig, Packing


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is computed.

    Attributes:
        packing: how rows are put together.
        pair: what a pair of tokens costs in attention, see `pair_cost`.
        one_beginning: whether a beginning has the same states whatever follows, and however far behind.
        branches: whether attention goes along branches by itself; else a tree comes with a dense mask.
        fast: whether layers are replaced by those of the folder `fast`.
    """

    packing: Packing
    pair: float
    one_beginning: bool
    branches: bool
    fast: bool


def way(
    config: HFTrainerConfig, model: torch.nn.Module, attention: str, device: str, adapter: Any, *, quantized: bool
) -> tuple[Way, str]:
    """Choose, and say in words how rows are packed.

    Args:
        config: the settings.
        model: the base, with or without memory for its weights.
        attention: its attention implementation.
        device: cpu or cuda.
        adapter: the peft config, None where all weights are trained.
        quantized: whether the base is.
    """
    far = distance(model)
    why = far or refusal(model, attention, getattr(adapter, "lora_dropout", 0.0), config.neftune_noise_alpha)
    packing = Packing.pad if why and config.packing is Packing.tree else config.packing
    # Measured on CPUs only: elsewhere the plain layers stay, and a dense mask goes to the GPU's own kernels.
    on_cpu = device == "cpu"
    branches = on_cpu and packing is Packing.tree and attention == "sdpa"
    fast = on_cpu and adapter is not None and not quantized
    fact = packing.value if packing is config.packing else f"{packing.value}, not tree: {why}"
    return Way(packing, pair_cost(model), not far, branches, fast), fact


def distance(model: Any) -> str:
    """Return what in a model sees a token by its distance or its place in the batch; empty where nothing does."""
    config = model.config.get_text_config()
    kinds = {str(kind) for kind in getattr(config, "layer_types", None) or []} - {"full_attention"}
    if kinds:
        return f"the model has layers of the kind {', '.join(sorted(kinds))}"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return f"the model has a sliding window of {config.sliding_window} tokens"
    if any("sink" in name.rpartition(".")[2] for name, _ in model.named_parameters()):
        return "the model has attention sinks"
    return ""


def refusal(model: Any, attention: str, lora_dropout: float, noise: float | None = None) -> str:
    """Return what else keeps the rows of a model from sharing their beginnings in training; empty where nothing does.

    Args:
        model: the model, with or without memory for its weights.
        attention: its attention implementation.
        lora_dropout: the dropout of its adapter.
        noise: NEFTune's, on the embeddings.
    """
    config = model.config.get_text_config()
    if attention not in {"sdpa", "eager"}:
        return f"attention={attention} does not support a mask of branches"
    dropouts = {"lora_dropout": lora_dropout, "attention_dropout": getattr(config, "attention_dropout", 0.0)}
    for name, share in dropouts.items():
        if share:
            return f"{name}={share:g} would change a shared token for all its rows at once"
    if noise:
        return f"neftune_noise_alpha={noise:g} would change a shared token for all its rows at once"
    return ""


def pair_cost(model: Any) -> float:
    """Return what a pair of tokens costs in attention, in units of what a token costs in the linear layers.

    A token takes 2 multiplications and additions a weight, a pair 4 a feature of the heads and layer: scores and sum.
    """
    config = model.config.get_text_config()
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    tables = {id(part.weight) for part in (model.get_input_embeddings(), model.get_output_embeddings()) if part}
    weights = sum(part.numel() for part in model.parameters() if id(part) not in tables)
    return float(ATTENTION * 4 * config.num_attention_heads * size * config.num_hidden_layers / (2 * weights))
