"""A model whose layers are divided over several devices, for one process that evaluates it.

accelerate's hooks move what goes from a layer to the next. All but the inner layers is on the first device, so code
that asks the model need not know of the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from framework import FrameworkError
from framework.api.training import devices_of_layers
from framework_plugins.hf.load.model_parts import is_linear, parts_beside

WIDTH, QUANTIZED = 2.0, {"load_in_4bit": 0.52, "load_in_8bit": 1.0}
"""Bytes of a weight, and of one of a quantized linear layer by the setting of bitsandbytes."""


def device_map(empty: PreTrainedModel, devices: Sequence[str | int], quantization: Any) -> dict[str, str | int]:
    """Return the device of each part of a model.

    Args:
        empty: the model, without memory for its weights.
        devices: over which its layers are divided.
        quantization: of the linear layers, as transformers takes it; None if there is none.

    Raises:
        FrameworkError: the model has no list of layers.
    """
    layers = _layers(empty)
    if not layers:
        raise FrameworkError(
            f"launch.evaluation: {type(empty).__name__} has no list of layers, which could be divided over GPUs: set "
            "launch.evaluation=whole, or leave the evaluation out, stages=[plan,data,train]"
        )
    linear_width = next((size for name, size in QUANTIZED.items() if getattr(quantization, name, False)), WIDTH)
    sizes = [_weight_bytes(layer, linear_width) for layer in layers.values()]
    outside_bytes = _weight_bytes(empty, WIDTH) - sum(_weight_bytes(layer, WIDTH) for layer in layers.values())
    device_indexes = dict(zip(layers, devices_of_layers(sizes, outside_bytes, len(devices)), strict=True))
    parts = (*parts_beside(empty, [*layers]), *device_indexes)
    inside = tuple(f"{part}." for part in parts)
    tensors = (name for name, _ in itertools.chain(empty.named_parameters(), empty.named_buffers()))
    loose_tensors = [name for name in tensors if not name.startswith(inside)]
    return {name: devices[device_indexes.get(name, 0)] for name in (*parts, *loose_tensors)}


def _layers(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the layers of the text part by name, in the order in which they come."""
    count, decoder = model.config.get_text_config().num_hidden_layers, model.get_decoder()
    inside = {id(module) for module in decoder.modules()}
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and id(module) in inside:
            return {f"{name}.{index}": layer for index, layer in enumerate(module)}
    return {}


def _weight_bytes(module: nn.Module, linear_width: float) -> float:
    """Return the bytes of a part whose linear layers take `linear_width` bytes a weight."""
    weights: list[Any] = [part.weight for part in module.modules() if is_linear(part)]
    linear: int = sum(weight.numel() for weight in weights)
    return WIDTH * sum(weight.numel() for weight in module.parameters()) - (WIDTH - linear_width) * linear
