"""Cross entropy after the output head, in chunks: neither the logits nor their gradient are kept.

The gradient of the loss by the logits is known in the forward pass, softmax - onehot, so the head is applied to it
there and then. (The idea of Liger's fused linear cross entropy, Hsu et al., arXiv 2410.10989.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from framework import FrameworkError
from framework.api import Guard

Tensor = torch.Tensor
REFERENCE = "reference"
"""The parameter of a function of logits that gets those of the reference."""
CPU_LOGITS, FEWEST_LOGITS = 1 << 25, 1 << 21
"""Size of the logits that are kept at a time, in 16 bits: enough rows for a product at full speed; and of the fewest,
if memory runs out."""
CPU_FP32_LOGITS = 1 << 23
"""Size of those that are processed in fp32 at a time: they should stay in the cache."""
GPU_LOGITS = 1 << 27
"""Both sizes on a GPU, whose products are at full speed from some hundred rows on, and on which each of a piece's ten
operations takes 5 µs to start: 523 rows of Llama 3's vocabulary."""
FP16_GRADIENT_SCALE = 1024.0
"""What the gradient by a logit is raised to in fp16, at most. Of a vocabulary of 128,000 most tokens are likely to less
than 6e-8, the smallest number in fp16, and would be lost before a gradient scaler multiplies the loss. Its product with
the head stays below 65,504 for weights up to 32."""


def logits_at_once(device: torch.device) -> int:
    """Return the size of the logits that are kept at a time on a device."""
    return CPU_LOGITS if device.type == "cpu" else GPU_LOGITS


def fp32_logits_at_once(device: torch.device) -> int:
    """Return the size of those that are processed in fp32 at a time on a device."""
    return CPU_FP32_LOGITS if device.type == "cpu" else GPU_LOGITS


@dataclass(frozen=True)
class Head:
    """An output head, and what the model makes of its logits: cap * tanh(scale * logits / cap).

    Attributes:
        linear: gives the logits.
        scale: they are multiplied by it.
        cap: no logit is larger; 0: they are not capped.
    """

    linear: nn.Linear
    scale: float = 1.0
    cap: float = 0.0

    def finish(self, logits: Tensor) -> Tensor:
        """Return scaled and capped logits."""
        if self.scale != 1:
            logits = logits * self.scale
        return torch.tanh(logits / self.cap) * self.cap if self.cap else logits


class _SummedCrossEntropy(torch.autograd.Function):
    """states (tokens, features), the head's weight (vocabulary, features) and bias, to the weighted sum in nats."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        target: Tensor,
        share: Tensor,
        head: Head,
        logits: int,
    ) -> Tensor:
        total, gradients, raised = _head_gradients(
            ctx.needs_input_grad[:3], states, weight, bias, target, share, head, logits
        )
        ctx.dtypes = [None if part is None else part.dtype for part in (states, weight, bias)]
        ctx.save_for_backward(*gradients, raised)
        return total if raised is None else total / raised

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *parts, raised = ctx.saved_tensors
        gradients = (
            None if part is None else _times_upstream(part, grads[0], raised).to(dtype)
            for part, dtype in zip(parts, ctx.dtypes, strict=True)
        )
        return *gradients, None, None, None, None


class _LogProbs(torch.autograd.Function):
    """The same inputs without a share, to the log-probability of each target; the head is applied again backward."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, head: Head, logits: int
    ) -> Tensor:
        ctx.save_for_backward(states, weight, bias, target)
        ctx.head, ctx.logits = head, logits
        # Under autocast as in the other pass: what is differentiated is what was computed.
        ctx.autocast = autocast_dtype(states) if torch.is_autocast_enabled(states.device.type) else None
        chunk_size = max(1, min(fp32_logits_at_once(states.device) // 4, logits // 2) // weight.shape[0])
        chunks = (
            log_probs_of_logits(head.finish(nn.functional.linear(chunk, weight, bias).to(_at_least_fp32(chunk))), ids)
            for chunk, ids in zip(torch.split(states, chunk_size), torch.split(target, chunk_size), strict=True)
        )
        return torch.cat([*chunks]) if len(states) else states.new_zeros(target.shape, dtype=_at_least_fp32(states))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, bias, target = ctx.saved_tensors
        with torch.autocast(states.device.type, ctx.autocast, enabled=ctx.autocast is not None):
            _, gradients, raised = _head_gradients(
                ctx.needs_input_grad[:3], states, weight, bias, target, -grads[0], ctx.head, ctx.logits
            )
        scaled = (
            None if part is None else (part if raised is None else part.float() / raised).to(source.dtype)
            for part, source in zip(gradients, (states, weight, bias), strict=True)
        )
        return *scaled, None, None, None


def _at_least_fp32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _head_gradients(
    needs: tuple[bool, ...],
    states: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    target: Tensor,
    share: Tensor,
    head: Head,
    logits: int,
) -> tuple[Tensor, tuple[Tensor | None, Tensor | None, Tensor | None], Tensor | None]:
    """Return the weighted sum, its gradients, and how far all of that is raised for fp16.

    The gradients are those by states, weight and bias, each where it is needed.
    """
    total = states.new_zeros((), dtype=torch.promote_types(states.dtype, torch.float32))
    needs_states, needs_weight, needs_bias = needs
    d_states = torch.empty_like(states) if needs_states else None
    # In 16 bits the sum over chunks would lose what is small.
    wide = torch.promote_types(weight.dtype, torch.float32)
    d_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
    d_bias = torch.zeros_like(bias, dtype=wide) if needs_bias and bias is not None else None
    share, raised = _scaled_for_fp16(share, autocast_dtype(states))
    vocabulary = weight.shape[0]
    chunk_size, piece_size = (
        max(1, size // (part * vocabulary)) for size, part in ((logits, 2), (fp32_logits_at_once(states.device), 4))
    )
    for start in range(0, len(states), chunk_size):
        rows = slice(start, start + chunk_size)
        grad = nn.functional.linear(states[rows], weight, bias)
        for piece, labels, part in zip(
            torch.split(grad, piece_size),
            torch.split(target[rows], piece_size),
            torch.split(share[rows], piece_size),
            strict=True,
        ):
            total += _gradient(piece, labels, part.to(total.dtype), head.scale, head.cap)
        if d_states is not None:
            d_states[rows] = grad @ weight
        if d_weight is not None:
            d_weight.addmm_(grad.to(d_weight.dtype).t(), states[rows].to(d_weight.dtype))
        if d_bias is not None:
            d_bias += grad.sum(0, dtype=d_bias.dtype)
        del grad, piece  # else they are there while the next ones are made
    return total, (d_states, d_weight, d_bias), raised


class _SummedCrossEntropyOfLogits(torch.autograd.Function):
    """Logits (tokens, vocabulary) to the weighted sum in nats; their gradient is put in their place."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
        total = logits.new_zeros((), dtype=torch.promote_types(logits.dtype, torch.float32))
        share, raised = _scaled_for_fp16(share, logits.dtype)
        piece_size = max(1, fp32_logits_at_once(logits.device) // (4 * logits.shape[1]))
        for piece, labels, part in zip(
            *(torch.split(tensor, piece_size) for tensor in (logits, target, share)), strict=True
        ):
            total += _gradient(piece, labels, part.to(total.dtype))
        ctx.save_for_backward(logits, raised)
        return total if raised is None else total / raised

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gradient, raised = ctx.saved_tensors
        return _times_upstream(gradient, grads[0], raised), None, None


def autocast_dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of a product with `tensor`, which autocast may lower."""
    kind = tensor.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else tensor.dtype


def _scaled_for_fp16(share: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """Return the weights of the tokens, raised where gradients are fp16, and by how much."""
    if dtype is not torch.float16 or not len(share):
        return share, None
    factor = FP16_GRADIENT_SCALE / share.abs().max().clamp(min=1)
    return share * factor, factor


def _times_upstream(gradient: Tensor, upstream: Tensor, raised: Tensor | None) -> Tensor:
    """Return a gradient times the one that comes from upstream, which a scaler has raised instead by then."""
    if raised is None:
        return gradient * upstream
    # Both factors in fp32: 65,536, where a scaler begins, is not a number of fp16.
    return (gradient.float() * (upstream.float() / raised)).to(gradient.dtype)


def _gradient(logits: Tensor, target: Tensor, share: Tensor, scale: float = 1.0, cap: float = 0.0) -> Tensor:
    """Return the weighted cross entropy of logits, and put its gradient by them in their place.

    `target` and `share` are (tokens,), or (tokens, ids) for the sum over several ids at each place.
    """
    target, share = (tensor[:, None] if tensor.dim() == 1 else tensor for tensor in (target, share))
    wide = logits.to(share.dtype, copy=True)
    if scale != 1:
        wide.mul_(scale)
    slope = None
    if cap:
        wide.div_(cap).tanh_()
        slope = 1 - wide.square()
        wide.mul_(cap)
    highest, right = wide.amax(-1, keepdim=True), wide.gather(1, target)
    mass = wide.sub_(highest).exp_().sum(-1, keepdim=True)
    loss = ((highest + mass.log() - right) * share).sum()
    wide.mul_(share.sum(-1, keepdim=True) / mass).scatter_add_(1, target, -share)
    if slope is not None:
        wide.mul_(slope)
    if scale != 1:
        wide.mul_(scale)
    logits.copy_(wide)
    return loss


def summed_cross_entropy(states: Tensor, head: Head, target: Tensor, share: Tensor, logits: int = CPU_LOGITS) -> Tensor:
    """Return the sum over tokens of share * cross entropy, in nats.

    Args:
        states: (tokens, features), what the head is applied to.
        head: the output head.
        target: (tokens), the learned token ids; or (tokens, ids).
        share: the weight of each.
        logits: the size of those that are kept at a time.
    """
    apply: Any = _SummedCrossEntropy.apply
    total: Tensor = apply(states, head.linear.weight, head.linear.bias, target, share, head, logits)
    return total


def log_probs(states: Tensor, head: Head, target: Tensor, logits: int = CPU_LOGITS) -> Tensor:
    """Return the log-probability of each target in fp32, of its shape; arguments as above."""
    apply: Any = _LogProbs.apply
    result: Tensor = apply(states, head.linear.weight, head.linear.bias, target, head, logits)
    return result


def log_probs_of_logits(logits: Tensor, target: Tensor) -> Tensor:
    """Return the log-probability of each target, of its shape, from logits (tokens, vocabulary)."""
    ids = target[:, None] if target.dim() == 1 else target
    return logits.log_softmax(-1).gather(1, ids).view(target.shape)


def logit_columns(
    states: Tensor,
    head: Head | None,
    target: Tensor,
    functions: Mapping[Callable[..., Tensor], Sequence[str]],
    inputs: Mapping[str, Tensor],
    logits: int = CPU_LOGITS,
) -> Tensor:
    """Return the log-probabilities of the targets and, as further columns, functions of all logits at a token.

    A few tokens at a time; their logits are computed again in the backward pass.

    Args:
        states: (tokens, features), what the head is applied to; without a head (tokens, vocabulary), the logits.
        head: the output head.
        target: (tokens), or (tokens, ids).
        functions: of logits, each with the names of the inputs that it reads besides.
        inputs: by name; of the reference the states, or logits, from which its logits are made.
        logits: the size of those that are kept at a time.
    """
    vocabulary = states.shape[-1] if head is None else head.linear.out_features
    size = max(1, min(fp32_logits_at_once(states.device) // 8, logits // 2) // vocabulary)

    def logits_of(chunk: Tensor) -> Tensor:
        if head is None:
            return chunk.float()
        wide = nn.functional.linear(chunk, head.linear.weight, head.linear.bias).to(_at_least_fp32(chunk))
        return head.finish(wide)

    def columns(chunk: Tensor, ids: Tensor, *chunk_inputs: Tensor) -> Tensor:
        values, named = logits_of(chunk), dict(zip(inputs, chunk_inputs, strict=True))
        if REFERENCE in named:
            named[REFERENCE] = logits_of(named[REFERENCE]).detach()
        results = [log_probs_of_logits(values, ids)]
        for function, names in functions.items():
            with Guard(f"of_logits={function.__name__}"):
                result = function(values, *(named[name] for name in names))
            if not isinstance(result, Tensor) or result.shape != values.shape[:1]:
                shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
                raise FrameworkError(
                    f"of_logits={function.__name__} returns {shape} for logits of {len(values)} tokens"
                )
            results.append(result[:, None].to(values.dtype))
        return torch.cat(results, 1)

    ids = target[:, None] if target.dim() == 1 else target
    chunks = zip(*(torch.split(tensor, size) for tensor in (states, ids, *inputs.values())), strict=True)
    run: Any = checkpoint
    with set_checkpoint_early_stop(False):  # it ends by an exception, which a guard would take for the function's
        return torch.cat([run(columns, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks])


def logit_chunks(states: Tensor, head: Head | None, logits: int = CPU_LOGITS) -> Iterator[tuple[slice, Tensor]]:
    """Yield logits in fp32, few enough tokens at a time to stay in the cache.

    Args:
        states: (tokens, features), what the head is applied to; without a head (tokens, vocabulary), the logits.
        head: the output head.
        logits: the size of those that are kept at a time.
    """
    vocabulary = states.shape[-1] if head is None else head.linear.out_features
    chunk_size = max(1, min(fp32_logits_at_once(states.device) // 4, logits // 2) // vocabulary)
    for start in range(0, len(states), chunk_size):
        rows = slice(start, start + chunk_size)
        if head is None:
            yield rows, states[rows].float()
        else:  # its own forward pass may be what this is called in
            raw = nn.functional.linear(states[rows], head.linear.weight, head.linear.bias)
            yield rows, head.finish(raw.float())


def summed_cross_entropy_of_logits(logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return the same of logits that a model made and nobody else reads: their gradient is written over them.

    What that needs in fp32 is made of a few of them at a time.
    """
    apply: Any = _SummedCrossEntropyOfLogits.apply
    total: Tensor = apply(logits, target, share)
    return total
