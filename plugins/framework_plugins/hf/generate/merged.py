"""LoRA merged into its base while a model draws answers: each token then takes two products less in each layer.

The weights of the base are kept beside the merged ones and put back. Nothing is subtracted again, so they are what they
were, bit for bit. Merged weights are rounded to the format of the base: in 16 bits the answers are those of slightly
other weights, which `sampling_logp_difference` shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn


@contextmanager
def merged(model: Any) -> Iterator[None]:
    """Let plain LoRA be in the weights of its layers meanwhile; other layers stay as they are."""
    originals: list[tuple[Any, torch.Tensor]] = []
    try:
        for layer in _plain_layers(model):
            base, (name,) = layer.base_layer, layer.active_adapters
            originals.append((layer, base.weight.data))
            base.weight.data = (base.weight.data.float() + layer.get_delta_weight(name).float()).to(base.weight.dtype)
            layer.merged_adapters.append(name)
        yield
    finally:
        for layer, weight in originals:
            layer.base_layer.weight.data = weight
            layer.merged_adapters.clear()


def merged_bytes(model: Any) -> int:
    """Return the bytes of the weights that merging makes."""
    return sum(layer.base_layer.weight.nbytes for layer in _plain_layers(model))


def _plain_layers(model: Any) -> list[Any]:
    """Return the linear layers of which LoRA is a sum of two products beside weights that are not quantized."""
    shared = model.get_input_embeddings().weight
    return [layer for layer in model.modules() if isinstance(layer, LoraLinear) and _is_plain(layer, shared)]


def _is_plain(layer: Any, shared: torch.Tensor) -> bool:
    base, active = layer.base_layer, layer.active_adapters
    if type(base) is not nn.Linear or base.weight is shared or layer.merged or layer.disable_adapters:
        return False
    return len(active) == 1 and active[0] in layer.lora_A and active[0] not in layer.lora_variant
