"""Cross entropy behind the output head, in chunks: neither the logits nor their gradient are kept.

The gradient of the loss by the logits is known in the forward pass, softmax - onehot, so the head is applied to it
there and then. (The idea of Liger's fused linear cross entropy, Hsu et al., arXiv 2410.10989.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

Tensor = torch.Tensor
LOGITS, LEAST = 1 << 25, 1 << 21
"""Size of the logits that are kept at a time, in 16 bits: enough rows for a product at full speed; and of the fewest,
where memory runs out."""
WIDE = 1 << 23
"""Size of those that are processed in fp32 at a time: they should stay in the cache."""
ON_GPU = 1 << 27
"""Both sizes on a GPU, whose products are at full speed from some hundred rows on, and on which each of a piece's ten
operations takes 5 µs to start: 523 rows of Llama 3's vocabulary."""


def kept(device: torch.device) -> int:
    """Return the size of the logits that are kept at a time on a device."""
    return LOGITS if device.type == "cpu" else ON_GPU


def processed(device: torch.device) -> int:
    """Return the size of those that are processed in fp32 at a time on a device."""
    return WIDE if device.type == "cpu" else ON_GPU


class _Summed(torch.autograd.Function):
    """states (tokens, features), the head's weight (vocabulary, features) and bias, to the weighted sum in nats."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, share: Tensor, logits: int
    ) -> Tensor:
        total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
        needs_states, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        d_states = torch.empty_like(states) if needs_states else None
        d_weight = torch.zeros_like(weight) if needs_weight else None
        d_bias = torch.zeros_like(bias) if needs_bias and bias is not None else None
        vocabulary = weight.shape[0]
        many, few = (max(1, size // (part * vocabulary)) for size, part in ((logits, 2), (processed(states.device), 4)))
        for start in range(0, len(states), many):
            rows = slice(start, start + many)
            grad = nn.functional.linear(states[rows], weight, bias)
            for some, labels, part in zip(
                torch.split(grad, few), torch.split(target[rows], few), torch.split(share[rows], few), strict=True
            ):
                total += _gradient(some, labels[:, None], part[:, None].to(total.dtype))
            if d_states is not None:
                d_states[rows] = grad @ weight
            if d_weight is not None:
                d_weight.addmm_(grad.to(d_weight.dtype).t(), states[rows].to(d_weight.dtype))
            if d_bias is not None:
                d_bias += grad.sum(0)
        ctx.save_for_backward(d_states, d_weight, d_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if part is None else part * grads[0] for part in ctx.saved_tensors)
        return *scaled, None, None, None


def _gradient(logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the weighted cross entropy of logits, and put its gradient by them in their place."""
    wide = logits.to(share.dtype, copy=True)
    highest, right = wide.amax(-1, keepdim=True), wide.gather(1, target)
    mass = wide.sub_(highest).exp_().sum(-1, keepdim=True)
    loss = ((highest + mass.log() - right) * share).sum()
    logits.copy_(wide.mul_(share / mass).scatter_add_(1, target, -share))
    return loss


def summed_cross_entropy(
    states: Tensor, head: nn.Linear, target: Tensor, share: Tensor, logits: int = LOGITS
) -> Tensor:
    """Return the sum over tokens of share * cross entropy, in nats.

    Args:
        states: (tokens, features), what the head is applied to.
        head: the output head.
        target: (tokens), the learned token ids.
        share: (tokens), the weight of each.
        logits: the size of those that are kept at a time.
    """
    apply: Any = _Summed.apply
    total: Tensor = apply(states, head.weight, head.bias, target, share, logits)
    return total


def blocks(states: Tensor, head: nn.Linear | None, logits: int = LOGITS) -> Iterator[tuple[slice, Tensor]]:
    """Yield logits in fp32, few enough tokens at a time to stay in the cache.

    Args:
        states: (tokens, features), what the head is applied to; without a head (tokens, vocabulary), the logits.
        head: the output head.
        logits: the size of those that are kept at a time.
    """
    vocabulary = states.shape[-1] if head is None else head.out_features
    few = max(1, min(processed(states.device) // 4, logits // 2) // vocabulary)
    for start in range(0, len(states), few):
        rows = slice(start, start + few)
        yield rows, (states[rows] if head is None else head(states[rows])).float()


def summed_of_logits(logits: Tensor, target: Tensor, share: Tensor, size: int) -> Tensor:
    """Return the same of logits that a model made.

    Where they are many, `size` of them are taken at a time, and what that needs in fp32 is made again in the backward
    pass: only the logits themselves are kept.
    """
    many = max(1, size // (2 * logits.shape[1]))
    if size == kept(logits.device) or many >= len(logits):
        return _lost(logits, target, share)
    pieces = zip(*(torch.split(part, many) for part in (logits, target, share)), strict=True)
    losses = [checkpoint(_lost, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
    return torch.stack(losses).sum()


def _lost(logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
    return torch.sum(nn.functional.cross_entropy(logits.float(), target, reduction="none") * share)
