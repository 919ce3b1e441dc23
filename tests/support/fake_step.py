"""A training step of a model whose tensors have no memory: what each part of it holds, in bytes, and at its peak.

The tensors are torch's fake ones. Which of them autograd keeps is decided by the kernels of a CPU, so what a GPU does
otherwise is put in its place: dropout keeps a mask of one byte for each number, and chunks of logits have a GPU's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest.mock import patch
from weakref import finalize

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM

from framework.api.plan import Plan
from framework.api.protocols import ModelPlace
from framework.memory import Attention, MemorySettings, Shape, Weights, estimate, terms
from framework.memory.peak import saved_activations
from framework_plugins.hf.load.adapt_model import with_adapter
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.loss.chunked_cross_entropy import GPU_LOGITS, Head, summed_cross_entropy
from framework_plugins.hf.machine.precision import rounded_once

BLOCK, CONSTANTS = 64, 256
"""Weights that share a constant in NF4, and constants that share one with double quantization."""


@dataclass(frozen=True)
class FakeStep:
    """What a step holds, in bytes.

    Attributes:
        weights: of the base.
        adapter: its weights.
        gradients: of all that is trained.
        optimizer: its states.
        kept: what the forward pass keeps, and autocast's copies of weights.
        loss: what logits and loss take beside that.
        temporary: what forward and backward pass take beside that, the loss aside.
    """

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    kept: int
    loss: int
    temporary: int

    @property
    def peak(self) -> int:
        """The resident, what is kept, and the larger of loss and temporary."""
        resident = self.weights + self.adapter + self.gradients + self.optimizer
        return resident + self.kept + max(self.loss, self.temporary)


def planned_step(shape: Shape, settings: MemorySettings) -> dict[str, float]:
    """Return the plan's parts by the names of `FakeStep`."""
    made = estimate(shape, settings)
    parts = {name: float(made.parts.get(name, 0)) for name in ("adapter", "gradients", "optimizer")}
    head = terms.head_copy(shape, settings)  # made in the loss
    kept = saved_activations(shape, settings) + terms.cast_weights(shape, settings) - head
    parts |= {"weights": made.resident - sum(parts.values()), "kept": kept}
    parts["loss"] = terms.loss_forward(shape, settings) + head
    back = max(made.phases[name] for name in ("backward", *(["loss"] if settings.full else [])) if name in made.phases)
    norm = terms.magnitude_norm(shape, settings)
    return parts | {"temporary": max(back - kept, norm and norm + terms.raised_input(shape, settings))}


class Live(TorchDispatchMode):
    """Counts the bytes of the storages that are alive, and the most that were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf.untyped_storage())
        return made

    def _add(self, storage: Any) -> None:
        key = storage._cdata  # noqa: SLF001 - storages have no other name
        if key not in self._known:
            self._known.add(key)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            finalize(storage, self._drop, key, storage.nbytes())

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

    def measured(self) -> int:
        """Return the peak since the last call."""
        peak, self.peak = self.peak, self.now
        return peak


def fake_step(plan: Plan, shape: Shape, settings: MemorySettings) -> FakeStep:
    """Take a step as `trainer=hf` does on a GPU: autocast, fp32 adapters, a loss in chunks over all tokens."""
    lora = trained_config(plan)
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(_config(shape, settings)).to(_dtype(settings))
        if settings.weights is Weights.nf4:
            _pack(model)
        whole = with_adapter(model, lora, ModelPlace(plan.run_dir, "fake")) if lora else model
    # A CPU has another kernel for heads that share keys in fp32.
    kernels = sdpa_kernel(SDPBackend.MATH) if settings.attention is Attention.math else nullcontext()
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    with fake, _as_on_a_gpu(), rounded_once(model, "cuda"), kernels, Live() as live:
        _without_memory(whole, double=settings.double_quant)
        model.train()
        resident, trained = live.now, [weight for weight in whole.parameters() if weight.requires_grad]
        adapter = 0 if settings.full else sum(weight.nbytes for weight in trained)
        if settings.checkpointing:
            _checkpoint_layers(model)
        forward_pass = partial(_forward, model, settings)
        forward_pass(live).backward()  # of the passes of a step, the later ones have gradients beside them
        optimizer = torch.optim.AdamW(trained, foreach=False, fused=True)
        before = live.now
        optimizer.step()
        states, start = live.now - before, live.now
        live.measured()
        loss = forward_pass(live)
        kept, forward, after = loss.sizes
        loss.backward()
        del loss
        return FakeStep(
            weights=resident - adapter,
            adapter=adapter,
            gradients=sum(weight.grad.nbytes for weight in trained if weight.grad is not None),
            optimizer=states,
            kept=kept - start,
            loss=after - kept,
            temporary=max(0, max(forward, live.measured()) - kept),
        )


def _forward(model: Any, settings: MemorySettings, live: Live) -> Any:
    """Return the loss of a pass; its `sizes` are what is alive before it, and the peaks of what came before and it."""
    inputs: dict[str, Any] = {"input_ids": torch.zeros(settings.rows, settings.length, dtype=torch.long)}
    if settings.masked:
        inputs["attention_mask"] = torch.ones(settings.rows, 1, settings.length, settings.length, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16) if settings.autocast else nullcontext():
        every = model.model(**inputs, use_cache=False)[0].flatten(0, 1)
        kept, forward = live.now, live.measured()
        states = every[torch.arange(settings.tokens)]
        target, share = torch.zeros(settings.tokens, dtype=torch.long), torch.ones(settings.tokens)
        loss: Any = summed_cross_entropy(states, Head(model.lm_head), target, share, GPU_LOGITS)
    loss.sizes, loss.inputs = (kept, forward, live.measured()), inputs
    return loss


def _dtype(settings: MemorySettings) -> torch.dtype:
    return torch.float32 if settings.weights is Weights.fp32 else torch.bfloat16


def _config(shape: Shape, settings: MemorySettings) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=shape.hidden, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads, head_dim=shape.head_dim, intermediate_size=shape.intermediate,
        vocab_size=shape.vocab, tie_word_embeddings=shape.tied,
        attn_implementation="eager" if settings.attention is Attention.eager else "sdpa",
    )  # fmt: skip


def _pack(model: Any) -> None:
    from bitsandbytes.nn import Linear4bit

    for module in list(model.model.layers.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear:
                packed = Linear4bit(
                    child.in_features, child.out_features, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4"
                )
                packed.weight.requires_grad = False
                setattr(module, name, packed)


def _without_memory(model: Any, *, double: bool) -> None:
    """Replace each weight by a fake tensor: `to` cannot."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):  # noqa: SLF001 - assignment calls quantization
            if weight is None:
                continue
            packed = hasattr(module, "quant_state") and name == "weight"
            if id(weight) not in made:
                made[id(weight)] = (
                    _packed(module, weight, double=double)
                    if packed
                    else torch.nn.Parameter(
                        torch.empty(weight.shape, dtype=weight.dtype), requires_grad=weight.requires_grad
                    )
                )
            module._parameters[name] = made[id(weight)]  # noqa: SLF001
        for name, buffer in list(module._buffers.items()):  # noqa: SLF001
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)  # noqa: SLF001


def _packed(module: Any, weight: torch.Tensor, *, double: bool) -> torch.nn.Parameter:
    from bitsandbytes.functional import QuantState

    blocks = weight.numel() // BLOCK
    more: dict[str, Any] = {}
    if double:
        second = QuantState(
            absmax=torch.empty(blocks // CONSTANTS), code=torch.empty(256), blocksize=256, dtype=torch.float32
        )
        more = {"offset": torch.empty(()), "state2": second}
    state = QuantState(
        absmax=torch.empty(blocks, dtype=torch.uint8 if double else torch.float32), shape=weight.shape,
        code=torch.empty(16), blocksize=BLOCK, quant_type="nf4", dtype=torch.bfloat16, **more,
    )  # fmt: skip
    packed: Any = torch.nn.Parameter(torch.empty(weight.numel() // 2, 1, dtype=torch.uint8), requires_grad=False)
    packed.quant_state = module.quant_state = state
    packed.bnb_quantized = True
    return packed  # type: ignore[no-any-return]


def _checkpoint_layers(model: Any) -> None:
    for layer in model.model.layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    def dropout(numbers: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002, ARG001 - torch's
        return torch.native_dropout(numbers, p, training)[0] if p and training else numbers

    # transformers asks whether rows are packed, by values that fake tensors do not have.
    with (
        patch("torch.nn.functional.dropout", dropout),
        patch("framework_plugins.hf.loss.chunked_cross_entropy.fp32_logits_at_once", lambda _: GPU_LOGITS),
        patch("transformers.masking_utils.find_packed_sequence_indices", lambda *_: None),
    ):
        yield
