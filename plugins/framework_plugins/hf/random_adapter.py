"""Random adapters of the shape and size of a trained one: their effect on a model is noise.

Of a layer with LoRA the update is s B A. A null has random A and B of the norms of the trained ones, scaled so that the
norm of their product is the same too (Frobenius norms): it moves every layer as far as the training did, nowhere in
particular.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import LoraLayer
from peft.utils.integrations import dequantize_module_weight
from torch import nn

from framework.api.errors import FrameworkError

Tensor = torch.Tensor


@contextmanager
def with_random_adapter(model: nn.Module, seed: int) -> Iterator[None]:
    """Replace the weights of an adapter by random ones, and restore them at the end.

    Raises:
        FrameworkError: there is no LoRA in the model.
    """
    layers = [part for part in model.modules() if isinstance(part, LoraLayer)]
    if not layers:
        raise FrameworkError("all weights are trained, so there is no adapter to compare with a random one")
    random = torch.Generator().manual_seed(seed)
    originals: list[tuple[Tensor, Tensor]] = []
    try:
        for layer in layers:
            originals += _randomize(layer, random)
        yield
    finally:
        for weight, trained in originals:
            weight.data = trained


def _randomize(layer: Any, random: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """Change the weights of a layer, each after it was given with what it held."""
    for name in layer.active_adapters:
        if name not in layer.lora_A:  # of an embedding, which this project does not train
            continue
        a, b = layer.lora_A[name].weight, layer.lora_B[name].weight
        size = _norm(a.data, b.data)
        yield a, a.data
        yield b, b.data
        new_a, new_b = (_like(weight.data, random) for weight in (a, b))
        norm = _norm(new_a, new_b)
        a.data, b.data = new_a, new_b * (size / norm if norm else 0.0)
        if name in layer.lora_magnitude_vector:  # DoRA: the length of each row as it comes out, neither more nor less
            magnitude = layer.lora_magnitude_vector[name]
            yield magnitude.weight, magnitude.weight.data
            whole = dequantize_module_weight(layer.get_base_layer()).float()
            moved = whole + layer.scaling[name] * (b.data.float() @ a.data.float())
            magnitude.weight.data = moved.norm(dim=1).to(magnitude.weight.dtype)


def _like(weight: Tensor, random: torch.Generator) -> Tensor:
    """Return random numbers of the shape and the norm of `weight`."""
    values = torch.randn(weight.shape, generator=random).to(weight.device, torch.float32)
    values *= weight.float().norm() / values.norm()
    return values.to(weight.dtype)


def _norm(a: Tensor, b: Tensor) -> float:
    """Return the Frobenius norm of B A, by matrices of the size of the rank: |BA|^2 = tr(B^T B A A^T)."""
    a, b = a.double(), b.double()
    return float(((b.t() @ b) * (a @ a.t())).sum().clamp(min=0).sqrt())
