"""The gated MLP, down(silu(gate x) * up x), as one function: the product in the middle is not kept but made again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from framework_plugins.hf.fused_layers.low_rank import (
    LowRank,
    gradient_of_b,
    low_rank,
    lower,
    lower_backward,
    scaled_b,
    stacked,
)

Tensor = torch.Tensor
MLP_LAYERS = ("gate_proj", "up_proj", "down_proj")
"""How transformers calls the layers of a gated MLP."""


class _Gated(torch.autograd.Function):
    """x (tokens, features) and the a and b of gate, up and down, to (tokens, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[LowRank, LowRank, LowRank], *ab: Tensor) -> Tensor:
        del ab  # the same tensors are in `layers`; autograd needs to see them
        gate, up, down = layers
        a, a_down = stacked([gate, up], x.dtype), stacked([down], x.dtype)
        (inner_gate, inner_up), masks = lower(x, [gate, up], a)
        b_gate, b_up, b_down = (scaled_b(layer, x.dtype) for layer in layers)
        gated = gate.linear(x).addmm_(inner_gate, b_gate.t())
        raised = up.linear(x).addmm_(inner_up, b_up.t())
        middle = functional.silu(gated).mul_(raised)
        (inner_down,), masks_down = lower(middle, [down], a_down)
        inners = inner_gate, inner_up, inner_down
        ctx.save_for_backward(x, *inners, gated, raised, a, a_down, b_gate, b_up, b_down, *masks, *masks_down)
        ctx.layers = layers
        return down.linear(middle).addmm_(inner_down, b_down.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner_gate, inner_up, inner_down, gated, raised, a, a_down, b_gate, b_up, b_down, *masks = ctx.saved_tensors
        gate, up, down = ctx.layers
        grad = grads[0]
        open_ = functional.silu(gated)
        inside = grad @ down.weight
        (da_down,) = lower_backward(open_ * raised, [down], a_down, masks[2:], [grad @ b_down], inside)
        db_down = gradient_of_b(down, grad, inner_down)
        d_raised = open_.mul_(inside)
        d_gated = torch.ops.aten.silu_backward(inside.mul_(raised), gated)
        del inside
        db_gate, db_up = gradient_of_b(gate, d_gated, inner_gate), gradient_of_b(up, d_raised, inner_up)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (d_gated @ gate.weight).addmm_(d_raised, up.weight)
        below = [d_gated @ b_gate, d_raised @ b_up]
        da_gate, da_up = lower_backward(x, [gate, up], a, masks[:2], below, dx)
        return dx, None, da_gate, db_gate, da_up, db_up, da_down, db_down


class GatedMLP(nn.Module):
    """A gated MLP in place of the one it is made of, whose layers it takes over under their names."""

    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module
    act_fn: nn.Module

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        for name in (*MLP_LAYERS, "act_fn"):
            setattr(self, name, getattr(plain, name))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer; whatever is not plain LoRA is computed layer by layer."""
        layers = tuple(low_rank(getattr(self, name), x) for name in MLP_LAYERS)
        if None in layers:
            output: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
            return output
        flat = x.reshape(-1, x.shape[-1])
        ab = [part for layer in layers if layer is not None for part in (layer.a, layer.b)]
        out: Tensor = _Gated.apply(flat, layers, *ab)
        return out.view(*x.shape[:-1], -1)
