"""Attention along branches with all around it: the projections as one function, and rotary positions on the way.

(RoPE: Su et al., arXiv 2104.09864, in the form that turns the halves of a head against each other.)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import nn

from framework_plugins.hf.fused_layers.low_rank import low_rank, project
from framework_plugins.hf.packing.tree_attention import Branches, attend_heads

Tensor = torch.Tensor
INPUT_LAYERS = ("q_proj", "k_proj", "v_proj")
ATTENTION_LAYERS = (*INPUT_LAYERS, "o_proj")
"""How transformers calls the layers of an attention."""


@lru_cache(maxsize=8)
def _half_rotation(size: int, dtype: torch.dtype) -> Tensor:
    """Return the matrix that makes (-second, first) of the halves (first, second); a product is quicker than copies."""
    half = size // 2
    turn = torch.zeros(size, size, dtype=dtype)
    turn[half:, :half] = -torch.eye(half)
    turn[:half, half:] = torch.eye(half)
    return turn


class _Rotate(torch.autograd.Function):
    """x (tokens, heads x groups x size) to (heads, tokens, groups, size), turned by angles (tokens, groups, size)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        _, groups, size = cos.shape
        swapped = x.reshape(-1, size) @ _half_rotation(size, x.dtype)
        x, swapped = (part.view(len(x), -1, groups, size).transpose(0, 1) for part in (x, swapped))
        return torch.mul(x, cos, out=x.new_empty(x.shape)).addcmul_(swapped, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        grad = grads[0]
        tokens, _, size = cos.shape
        swapped = (grad * sin).view(-1, size) @ _half_rotation(size, grad.dtype).t()
        back = torch.addcmul(swapped.view(grad.shape), grad, cos)
        return back.transpose(0, 1).reshape(tokens, -1), None, None


class BranchAttention(nn.Module):
    """Attention in place of the one it is made of, whose layers it takes over under their names."""

    o_proj: nn.Module

    def __init__(self, plain: Any) -> None:
        super().__init__()
        for name in ATTENTION_LAYERS:
            setattr(self, name, getattr(plain, name))
        self._plain = (plain,)  # in a tuple, so that its layers are not listed twice

    def share_layers(self) -> None:
        """Give the layers that are here now to the attention that was here: it computes what is unusual."""
        for name in ATTENTION_LAYERS:
            setattr(self._plain[0], name, getattr(self, name))

    def forward(
        self, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor] | None = None, **options: Any
    ) -> tuple[Tensor, Tensor | None]:
        """Attend; whatever is not plain LoRA along branches is left to the layer that was here."""
        along: Branches | None = options.get("branches")
        layers = tuple(low_rank(getattr(self, name), hidden_states) for name in INPUT_LAYERS)
        plain = self._plain[0]
        if along is None or position_embeddings is None or None in layers:
            plain.training = self.training
            output: tuple[Tensor, Tensor | None] = plain(
                hidden_states=hidden_states, position_embeddings=position_embeddings, **options
            )
            return output
        q, k, v = project(hidden_states[0], layers)  # type: ignore[arg-type]
        size = plain.head_dim
        heads = k.shape[1] // size
        groups = q.shape[1] // k.shape[1]
        cos, sin = (part[0, :, None] for part in position_embeddings)
        rotated: Tensor = _Rotate.apply(q, *along.repeated(cos, sin, groups, plain.scaling))
        keys: Tensor = _Rotate.apply(k, cos, sin)
        values = v.view(-1, heads, size).transpose(0, 1)
        out = attend_heads(rotated, keys.squeeze(2), values, along)
        return self.o_proj(out.view(1, len(v), -1)), None
