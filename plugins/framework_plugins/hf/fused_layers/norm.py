"""RMSNorm (Zhang and Sennrich, arXiv 1910.07467) with a frozen weight, in one function.

For the backward pass it keeps what it gave, which the layer after it keeps anyway, and divides the weight out again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Tensor = torch.Tensor


class _Normed(torch.autograd.Function):
    """w x / rms(x) over the last dimension; computed in fp32, w multiplied in the dtype of x, as transformers does."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        out = (wide * scale).to(x.dtype) * weight
        ctx.save_for_backward(out, scale, weight)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        out, scale, weight = ctx.saved_tensors
        unit = out / weight
        grad = (grads[0] * weight).to(scale.dtype)
        along = (grad * unit).mean(-1, keepdim=True)
        return grad.sub_(unit * along).mul_(scale).to(grads[0].dtype), None, None


class RMSNorm(nn.Module):
    """RMSNorm in place of the one it is made of, with its weight; frozen, and nowhere 0."""

    def __init__(self, plain: nn.Module, eps: float) -> None:
        super().__init__()
        self.weight: nn.Parameter = plain.weight  # type: ignore[assignment]
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Normed.apply(x, self.weight, self.eps)
        return out
