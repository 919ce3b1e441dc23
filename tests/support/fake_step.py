"""A training step of a model whose tensors have no memory: what each part of it holds, in bytes, and at its peak.

The tensors are torch's fake ones. Which of them autograd keeps is decided by the kernels of a CPU, so what a GPU does
otherwise is put in its place: dropout keeps a mask of one byte for each number, and chunks of logits have a GPU's size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from weakref import finalize

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from framework.api.plan import Plan
from framework.api.protocols import ModelPlace
from framework.memory import Attention, MemorySettings, Shape, Weights, estimate, terms
from framework.memory.peak import saved_activations
from framework_plugins.hf.load import packed_experts
from framework_plugins.hf.load.adapt_model import with_adapter
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.load.loading import attention_implementation
from framework_plugins.hf.load.model_parts import STACKS, packable
from framework_plugins.hf.loss.chunked_cross_entropy import GPU_LOGITS, Head, summed_cross_entropy
from framework_plugins.hf.machine.precision import rounded_once
from framework_plugins.hf.settings.config import Attention as Kernels

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


class _Grouped(torch.autograd.Function):
    """The sizes of a product of rows with the matrices of their experts."""

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor, weights: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        ctx.save_for_backward(rows, weights)
        return rows.new_empty(len(rows), weights.shape[-1])

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        saved = zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        return *(torch.empty_like(value) if needed else None for value, needed in saved), None


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


def fake_step(plan: Plan, shape: Shape, settings: MemorySettings, config: Mapping[str, Any] | None = None) -> FakeStep:
    """Take a step as `trainer=hf` does on a GPU: autocast, fp32 adapters, a loss in chunks over all tokens.

    `config` is what config.json says of the model; without one it is a Llama of that shape.
    """
    lora = trained_config(plan)
    with torch.device("meta"), _plain_parameters():
        model: Any = _model(config or _llama(shape), settings).to(_dtype(settings))
        if settings.weights is Weights.nf4:
            _pack(model, experts=settings.packed_experts)
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
        every = model.get_decoder()(**inputs, use_cache=False)[0].flatten(0, 1)
        kept, forward = live.now, live.measured()
        states = every[torch.arange(settings.tokens)]
        target, share = torch.zeros(settings.tokens, dtype=torch.long), torch.ones(settings.tokens)
        loss: Any = summed_cross_entropy(states, Head(model.lm_head), target, share, GPU_LOGITS)
    loss.sizes, loss.inputs = (kept, forward, live.measured()), inputs
    return loss


def _dtype(settings: MemorySettings) -> torch.dtype:
    return torch.float32 if settings.weights is Weights.fp32 else torch.bfloat16


def _llama(shape: Shape) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim, "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocab, "tie_word_embeddings": shape.tied,
    }  # fmt: skip


def _model(settings_of_model: Mapping[str, Any], settings: MemorySettings) -> Any:
    values = dict(settings_of_model)
    kind = getattr(transformers, values.pop("architectures")[0])
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    requested = Kernels.eager if settings.attention is Attention.eager else Kernels.sdpa
    return kind._from_config(config, attn_implementation=attention_implementation(requested, config))  # noqa: SLF001 - `from_config` is of the Auto classes


def _pack(model: Any, *, experts: bool) -> None:
    from bitsandbytes.nn import Linear4bit

    head = model.get_output_embeddings()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is torch.nn.Linear and child is not head:
                packed = Linear4bit(
                    child.in_features, child.out_features, bias=child.bias is not None, compute_dtype=torch.bfloat16,
                    quant_type="nf4",
                )  # fmt: skip
                packed.weight.requires_grad = False
                setattr(module, name, packed)
    if not experts:
        return
    model.set_experts_implementation(packed_experts.IMPLEMENTATION)
    for name in packable(model):
        module = model.get_submodule(name)
        module.adapters = {}
        for stack in (stack for stack in STACKS if hasattr(module, stack)):
            weight = getattr(module, stack)
            weight.requires_grad = False
            weight.quant_state = SimpleNamespace(shape=weight.shape, dtype=torch.bfloat16)  # for who asks for no more


def _without_memory(model: Any, *, double: bool) -> None:
    """Replace each weight by a fake tensor: `to` cannot."""
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module._parameters.items()):  # noqa: SLF001 - assignment calls quantization
            if weight is None:
                continue
            packed = hasattr(weight, "quant_state") or (hasattr(module, "quant_state") and name == "weight")
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
    packed.quant_state = state
    if hasattr(module, "quant_state"):  # of a linear layer
        module.quant_state = state
    packed.bnb_quantized = True
    return packed  # type: ignore[no-any-return]


def _checkpoint_layers(model: Any) -> None:
    for layer in model.get_decoder().layers:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)


class _Even:
    """Gives each expert as many rows, since fake tensors do not say which they have."""

    rows = 0

    def bincount(self, numbers: torch.Tensor, minlength: int) -> torch.Tensor:
        self.rows = len(numbers)
        return numbers.new_empty(minlength)

    def known(self, groups: Any) -> list[int]:
        experts = len(groups.ends)
        return [self.rows * number // experts for number in range(experts + 1)]


def _plain_parameters() -> Any:
    """Take parameters that have no memory for packed experts."""
    return patch("framework_plugins.hf.load.packed_experts.Params4bit", torch.nn.Parameter)


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    def dropout(numbers: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002, ARG001 - torch's
        return torch.native_dropout(numbers, p, training)[0] if p and training else numbers

    even = _Even()
    # transformers asks whether rows are packed, by values that fake tensors do not have; so do experts for their rows.
    with (
        patch("torch.bincount", even.bincount),
        patch("framework_plugins.hf.load.packed_experts._grouped_mm", _Grouped.apply),
        _plain_parameters(),
        patch("framework_plugins.hf.load.packed_experts.Groups.known", property(even.known)),
        patch("torch.nn.functional.dropout", dropout),
        patch("framework_plugins.hf.loss.chunked_cross_entropy.fp32_logits_at_once", lambda _: GPU_LOGITS),
        patch("transformers.masking_utils.find_packed_sequence_indices", lambda *_: None),
    ):
        yield
