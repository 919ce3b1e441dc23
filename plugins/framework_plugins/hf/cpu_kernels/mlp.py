"""The gated MLP, down(silu(gate x) * up x), as one function: the product in the middle is not kept but made again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from framework_plugins.hf.cpu_kernels.low_rank import LowRank, gradient_of_b, low_rank, scaled_b, stacked

Tensor = torch.Tensor
MLP_LAYERS = ("gate_proj", "up_proj", "down_proj")
"""How transformers calls the layers of a gated MLP."""


class _Gated(torch.autograd.Function):
    """x (tokens, features) and the a and b of gate, up and down, to (tokens, features)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: tuple[LowRank, LowRank, LowRank], *ab: Tensor) -> Tensor:
        del ab  # the same tensors are in `layers`; autograd needs to see them
        gate, up, down = layers
        dtype = x.dtype
        a = stacked([gate.a, up.a], dtype)
        inner = x @ a.t()
        inner_gate, inner_up = torch.split(inner, [gate.a.shape[0], up.a.shape[0]], dim=1)
        b_gate, b_up, b_down = (scaled_b(layer, dtype) for layer in layers)
        gated = functional.linear(x, gate.weight, gate.bias).addmm_(inner_gate, b_gate.t())
        raised = functional.linear(x, up.weight, up.bias).addmm_(inner_up, b_up.t())
        middle = functional.silu(gated).mul_(raised)
        a_down = down.a.to(dtype)
        inner_down = middle @ a_down.t()
        ctx.save_for_backward(x, inner, inner_down, gated, raised, a, a_down, b_gate, b_up, b_down)
        ctx.layers = layers
        return functional.linear(middle, down.weight, down.bias).addmm_(inner_down, b_down.t())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, inner_down, gated, raised, a, a_down, b_gate, b_up, b_down = ctx.saved_tensors
        gate, up, down = ctx.layers
        ranks = [gate.a.shape[0], up.a.shape[0]]
        grad = grads[0]
        below = grad @ b_down
        db_down = gradient_of_b(down, grad, inner_down)
        open_ = functional.silu(gated)
        da_down = (below.t() @ (open_ * raised)).to(down.a.dtype)
        inside = (grad @ down.weight).addmm_(below, a_down)
        d_raised = open_.mul_(inside)
        d_gated = torch.ops.aten.silu_backward(inside.mul_(raised), gated)
        inner_gate, inner_up = torch.split(inner, ranks, dim=1)
        db_gate, db_up = gradient_of_b(gate, d_gated, inner_gate), gradient_of_b(up, d_raised, inner_up)
        below = torch.cat([d_gated @ b_gate, d_raised @ b_up], dim=1)
        da_gate, da_up = torch.split(below.t() @ x, ranks)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (d_gated @ gate.weight).addmm_(d_raised, up.weight).addmm_(below, a)
        return dx, None, da_gate.to(gate.a.dtype), db_gate, da_up.to(up.a.dtype), db_up, da_down, db_down


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
        layers = tuple(low_rank(getattr(self, name), x.dtype) for name in MLP_LAYERS)
        if None in layers or torch.is_autocast_enabled(x.device.type):
            output: Tensor = self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))
            return output
        flat = x.reshape(-1, x.shape[-1])
        ab = [part for layer in layers if layer is not None for part in (layer.a, layer.b)]
        out: Tensor = _Gated.apply(flat, layers, *ab)
        return out.view(*x.shape[:-1], -1)
