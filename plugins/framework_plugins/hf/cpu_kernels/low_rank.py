"""Linear layers with LoRA that read one input: y = x W^T + b + s (x A^T) B^T for each, forward and backward as one.

The layers' A stand below each other, so that x is multiplied with all of them at once; the low-rank products are added
into what the base gave (`addmm_`) instead of to it. A and B stay fp32 and are rounded once to the dtype of x.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class LowRank:
    """The weights of a linear layer with LoRA: `weight` (out, in), `a` (r, in), `b` (out, r)."""

    weight: Tensor
    bias: Tensor | None
    a: Tensor
    b: Tensor
    scale: float


def low_rank(layer: nn.Module, dtype: torch.dtype) -> LowRank | None:
    """Return the weights of a layer as it stands, or None where it is anything but plain LoRA on a frozen layer."""
    if not isinstance(layer, LoraLinear) or type(layer.base_layer) is not nn.Linear:
        return None
    base: Any = layer.base_layer
    active = layer.active_adapters
    if layer.disable_adapters or layer.merged or len(active) != 1 or active[0] not in layer.lora_A:
        return None
    name = active[0]
    dropout: Any = layer.lora_dropout[name]
    if name in layer.lora_variant or not isinstance(dropout, nn.Identity) or base.weight.requires_grad:
        return None
    if base.bias is not None and base.bias.requires_grad:
        return None
    a: Any = layer.lora_A[name]
    b: Any = layer.lora_B[name]
    if base.weight.dtype != dtype or layer.fan_in_fan_out or b.bias is not None:
        return None
    return LowRank(base.weight, base.bias, a.weight, b.weight, float(layer.scaling[name]))


class _Project(torch.autograd.Function):
    """x (tokens, in), then for each layer a and b, to a tuple of (tokens, out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[LowRank, ...], *ab: Tensor) -> tuple[Tensor, ...]:
        del ab  # the same tensors stand in `layers`; autograd needs to see them
        a = stacked([layer.a for layer in layers], x.dtype)
        inner = x @ a.t()
        outs, bs = [], []
        for layer, part in zip(layers, torch.split(inner, [layer.a.shape[0] for layer in layers], dim=1), strict=True):
            b = scaled(layer, x.dtype)
            outs.append(functional.linear(x, layer.weight, layer.bias).addmm_(part, b.t()))
            bs.append(b)
        ctx.save_for_backward(x, inner, a, *bs)
        ctx.layers = layers
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, a, *bs = ctx.saved_tensors
        layers: tuple[LowRank, ...] = ctx.layers
        ranks = [layer.a.shape[0] for layer in layers]
        below = torch.cat([grad @ b for grad, b in zip(grads, bs, strict=True)], dim=1)
        for_a = torch.split(below.t() @ x, ranks)
        ab: list[Tensor] = []
        for layer, grad, part, da in zip(layers, grads, torch.split(inner, ranks, dim=1), for_a, strict=True):
            ab += [da.to(layer.a.dtype), for_b(layer, grad, part)]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = grads[0] @ layers[0].weight
            for grad, layer in zip(grads[1:], layers[1:], strict=True):
                dx.addmm_(grad, layer.weight)
            dx.addmm_(below, a)
        return dx, None, *ab


def stacked(parts: list[Tensor], dtype: torch.dtype) -> Tensor:
    """Return matrices below each other in one dtype."""
    return parts[0].to(dtype) if len(parts) == 1 else torch.cat([part.to(dtype) for part in parts])


def scaled(layer: LowRank, dtype: torch.dtype) -> Tensor:
    """Return s B in one dtype."""
    return (layer.b * layer.scale).to(dtype)


def for_b(layer: LowRank, grad: Tensor, inner: Tensor) -> Tensor:
    """Return the gradient of B, s grad^T inner; the narrow factor first, which is quicker."""
    return (inner.t() @ grad).t().to(layer.b.dtype) * layer.scale


def project(x: Tensor, layers: tuple[LowRank, ...]) -> tuple[Tensor, ...]:
    """Apply layers to one input; the last dimension of `x` is the features."""
    flat = x.reshape(-1, x.shape[-1])
    ab = [part for layer in layers for part in (layer.a, layer.b)]
    outs: tuple[Tensor, ...] = _Project.apply(flat, layers, *ab)
    return tuple(out.view(*x.shape[:-1], -1) for out in outs)


class FastLoraLinear(LoraLinear):
    """peft's LoRA layer; what is plain in it is computed by `project`, anything else by peft."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        weights = low_rank(self, x.dtype) if not args and not kwargs else None
        if weights is None or torch.is_autocast_enabled(x.device.type):
            output: Tensor = super().forward(x, *args, **kwargs)
            return output
        return project(x, (weights,))[0]
