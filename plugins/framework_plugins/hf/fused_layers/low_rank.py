"""Linear layers with LoRA that read one input: y = x W^T + b + s (x A^T) B^T for each, forward and backward as one.

The layers' A are below each other, so that x is multiplied with all of them at once; the low-rank products are added
into what the base gave (`addmm_`) instead of to it. A and B stay fp32 and are rounded once to the dtype of x. A W in
four bits is unpacked for its product, and again in the backward pass. With dropout each A reads an x of its own, of
which the backward pass has the x that all share and a byte for each number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from peft.tuners.lora.layer import LoraLayer
from torch import nn
from torch.nn import functional

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class LowRank:
    """A linear layer with LoRA: `base`, `a` (r, in), `b` (out, r), and the chance that A misses a number."""

    base: Any
    a: Tensor
    b: Tensor
    scale: float
    dropout: float

    @property
    def weight(self) -> Tensor:
        """Return the weight of the base (out, in), unpacked if it is in four bits."""
        weight = self.base.weight
        state = getattr(weight, "quant_state", None)
        if state is None:
            return cast("Tensor", weight)
        from bitsandbytes.functional import dequantize_4bit  # noqa: PLC0415 - who has such a weight has it

        whole: Tensor = dequantize_4bit(weight.data, state)
        return whole

    def linear(self, x: Tensor) -> Tensor:
        """Apply the base."""
        return functional.linear(x, self.weight, self.base.bias)


def low_rank(layer: Any, x: Tensor) -> LowRank | None:
    """Return a layer as it is applied to `x`, or None if it is anything but plain LoRA on a frozen layer.

    Of packed weights only in training: for answers bitsandbytes has products that do not unpack them.
    """
    if not isinstance(layer, LoraLayer):
        return None
    base, active, dtype = cast("Any", layer.base_layer), layer.active_adapters, x.dtype
    state: Any = getattr(getattr(base, "weight", None), "quant_state", None)
    if type(base) is nn.Linear:
        takes = base.weight.dtype is dtype and not layer.fan_in_fan_out
    else:
        packed = state is not None and not getattr(state, "packing_format_for_cpu", False)
        takes = packed and cast("Any", layer).training and state.dtype is dtype and base.compute_dtype is dtype
    if not takes or layer.disable_adapters or layer.merged or len(active) != 1 or active[0] not in layer.lora_A:
        return None
    name, device = active[0], x.device.type
    dropout, a, b = (cast("Any", parts[name]) for parts in (layer.lora_dropout, layer.lora_A, layer.lora_B))
    if name in layer.lora_variant or b.bias is not None or not isinstance(dropout, nn.Dropout | nn.Identity):
        return None
    if torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is not dtype:
        return None
    bias = base.bias
    if base.weight.requires_grad or (bias is not None and (bias.requires_grad or bias.dtype is not dtype)):
        return None
    chance = float(dropout.p) if isinstance(dropout, nn.Dropout) and dropout.training else 0.0
    return LowRank(base, a.weight, b.weight, float(layer.scaling[name]), chance)


class _Project(torch.autograd.Function):
    """x (tokens, in), then for each layer a and b, to a tuple of (tokens, out)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[LowRank, ...], *ab: Tensor) -> tuple[Tensor, ...]:
        del ab  # the same tensors are in `layers`; autograd needs to see them
        a = stacked(layers, x.dtype)
        parts, masks = lower(x, layers, a)
        bs = [scaled_b(layer, x.dtype) for layer in layers]
        outs = [layer.linear(x).addmm_(part, b.t()) for layer, part, b in zip(layers, parts, bs, strict=True)]
        ctx.save_for_backward(x, a, *bs, *parts, *masks)
        ctx.layers = layers
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, a, *rest = ctx.saved_tensors
        layers: tuple[LowRank, ...] = ctx.layers
        count = len(layers)
        bs, parts, masks = rest[:count], rest[count : 2 * count], rest[2 * count :]
        below = [grad @ b for grad, b in zip(grads, bs, strict=True)]
        dx = None
        if ctx.needs_input_grad[0]:
            dx = grads[0] @ layers[0].weight
            for grad, layer in zip(grads[1:], layers[1:], strict=True):
                dx.addmm_(grad, layer.weight)
        ab: list[Tensor] = []
        for layer, grad, part, da in zip(
            layers, grads, parts, lower_backward(x, layers, a, masks, below, dx), strict=True
        ):
            ab += [da, gradient_of_b(layer, grad, part)]
        return dx, None, *ab


def stacked(layers: Sequence[LowRank], dtype: torch.dtype) -> Tensor:
    """Return the A of layers below each other in one dtype."""
    return layers[0].a.to(dtype) if len(layers) == 1 else torch.cat([layer.a.to(dtype) for layer in layers])


def lower(x: Tensor, layers: Sequence[LowRank], a: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return x A^T for each layer, and which numbers of x its dropout kept; no masks if none has dropout."""
    ranks = [layer.a.shape[0] for layer in layers]
    if not any(layer.dropout for layer in layers):
        return list(torch.split(x @ a.t(), ranks, dim=1)), []
    parts, masks = [], []
    for layer, matrix in zip(layers, torch.split(a, ranks), strict=True):
        kept, mask = torch.native_dropout(x, layer.dropout, train=True)
        parts.append(kept @ matrix.t())
        masks.append(mask)
    return parts, masks


def lower_backward(
    x: Tensor, layers: Sequence[LowRank], a: Tensor, masks: Sequence[Tensor], below: Sequence[Tensor], dx: Tensor | None
) -> list[Tensor]:
    """Return the gradients of the A, given those of what `lower` gave; that of x is added to `dx`."""
    ranks = [layer.a.shape[0] for layer in layers]
    if not masks:
        joined = below[0] if len(below) == 1 else torch.cat(list(below), dim=1)
        if dx is not None:
            dx.addmm_(joined, a)
        gradients = torch.split(joined.t() @ x, ranks)
    else:
        made = []
        for layer, matrix, mask, grad in zip(layers, torch.split(a, ranks), masks, below, strict=True):
            kept = mask.to(x.dtype).mul_(1 / (1 - layer.dropout))
            made.append(grad.t() @ (x * kept))
            if dx is not None:
                dx.add_((grad @ matrix).mul_(kept))
        gradients = tuple(made)
    return [gradient.to(layer.a.dtype) for gradient, layer in zip(gradients, layers, strict=True)]


def scaled_b(layer: LowRank, dtype: torch.dtype) -> Tensor:
    """Return s B in one dtype."""
    return (layer.b * layer.scale).to(dtype)


def gradient_of_b(layer: LowRank, grad: Tensor, inner: Tensor) -> Tensor:
    """Return the gradient of B, s grad^T inner; the narrow factor first, which is quicker."""
    return (inner.t() @ grad).t().to(layer.b.dtype) * layer.scale


def project(x: Tensor, layers: tuple[LowRank, ...]) -> tuple[Tensor, ...]:
    """Apply layers to one input; the last dimension of `x` is the features."""
    flat = x.reshape(-1, x.shape[-1])
    ab = [part for layer in layers for part in (layer.a, layer.b)]
    outs: tuple[Tensor, ...] = _Project.apply(flat, layers, *ab)
    return tuple(out.view(*x.shape[:-1], -1) for out in outs)


class FusedLora:
    """Before a class of peft's LoRA layers: what is plain in it is computed by `project`, anything else by peft."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Apply the layer."""
        layer = low_rank(self, x) if not args and not kwargs else None
        if layer is None:
            output: Tensor = super().forward(x, *args, **kwargs)  # type: ignore[misc]
            return output
        return project(x, (layer,))[0]


@cache
def fused_class(plain: Any) -> type:
    """Return the class of LoRA layers that differ from those of a class of peft in their forward pass only."""
    return type(f"Fused{plain.__name__}", (FusedLora, plain), {})
