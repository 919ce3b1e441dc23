"""Replaces layers of a model by those of this folder, wherever both compute the same.

What a layer computes is seen from what it gives, not from its name: a norm with another formula or an MLP with another
activation stays as it is: a copy of the first layer of each kind is computed both ways before ours is installed, so
nobody keeps a list of models. The weights keep their names, so saving, loading and peft work as before.
"""

from __future__ import annotations

import copy
import math
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from peft.tuners.lora.layer import LoraLayer
from torch import nn

from framework.api import is_out_of_memory, summarize_error
from framework.api.training import TokenRow
from framework_plugins.hf.fused_layers import attention
from framework_plugins.hf.fused_layers.low_rank import FusedLora, fused_class, low_rank
from framework_plugins.hf.fused_layers.mlp import MLP_LAYERS, GatedMLP
from framework_plugins.hf.fused_layers.norm import RMSNorm
from framework_plugins.hf.machine.out_of_memory import RandomState
from framework_plugins.hf.packing import tree_attention as branches
from framework_plugins.hf.packing.tree import build_tree

TOLERANCE = 1e-4
"""How far outputs and gradients may lie apart in fp32, as a share of their size."""
ROUNDINGS = 3
"""How many units of rounding they may lie apart from those of fp32 in 16 bits, or twice as far as the layer's own."""
HALF_BITS, PROBE_TOKENS = 16, 8
ROTARY_MODULE = "rotary_emb"
"""What transformers calls the part of a model that gives the cosines and sines of positions."""
PACKED_LORA = "peft.tuners.lora.bnb", "Linear4bit"
"""Where peft has its LoRA layer of a weight in four bits; to import it takes bitsandbytes."""
NAMES = {FusedLora: "LoRA", GatedMLP: "gated MLP", RMSNorm: "norm", attention.BranchAttention: "attention"}
"""What the replacements are called."""
Result = list[torch.Tensor]


def install(model: nn.Module, *, along_branches: bool = True) -> str:
    """Replace LoRA layers, norms and gated MLPs of a model with frozen weights, and on a CPU its attention too.

    Args:
        model: a transformers model with its adapter.
        along_branches: whether its attention goes along branches, see `use_branches`.

    Returns:
        How many of each kind were replaced, and what was not and why.
    """
    proofs: dict[Any, str] = {}
    replaced, refused = Counter[str](), dict[str, str]()
    turns = next((part for name, part in model.named_modules() if name.rpartition(".")[2] == ROTARY_MODULE), None)
    for parent in list(model.modules()):
        for name, plain in list(parent.named_children()):
            fused = _replacement(plain)
            if fused is None or (isinstance(fused, attention.BranchAttention) and not along_branches):
                continue
            kind = _kind(plain)
            if kind not in proofs:
                proofs[kind] = difference(plain, turns)
            if proofs[kind]:
                refused[type(plain).__name__] = proofs[kind]
                continue
            replaced[next(text for made, text in NAMES.items() if isinstance(fused, made))] += 1
            if isinstance(fused, FusedLora):  # as it is: others may hold it
                plain.__class__ = type(fused)
            else:
                setattr(parent, name, fused)
    told = ", ".join(f"{replaced[name]} {name}" for name in NAMES.values() if replaced[name]) or "none"
    return "; ".join([f"fused: {told}", *(f"not {name}: {why}" for name, why in refused.items())])


def keeps_less(model: nn.Module) -> bool:
    """Whether each layer of a model has a fused MLP and two fused norms, as the memory plan counts them."""
    kinds = Counter(type(part) for part in model.modules())
    layers = getattr(cast("Any", model).config.get_text_config(), "num_hidden_layers", 0)
    return bool(layers) and kinds[GatedMLP] == layers and kinds[RMSNorm] >= 2 * layers


def refresh(model: nn.Module) -> None:
    """Give our attention the layers that peft has put in place since it was installed."""
    for module in model.modules():
        if isinstance(module, attention.BranchAttention):
            module.share_layers()


def use_branches(model: Any) -> None:
    """Let a model attend along branches where a batch has them, and by sdpa where not."""
    branches.register()
    model.set_attn_implementation(branches.ATTENTION_NAME)


def _replacement(plain: nn.Module) -> nn.Module | None:
    children = dict(plain.named_children())
    kind: Any = type(plain)
    if kind is LoraLinear or (kind.__module__, kind.__name__) == PACKED_LORA:
        fused = copy.copy(plain)
        fused.__class__ = fused_class(kind)
        return fused
    parameters = dict(plain.named_parameters())
    on_cpu = any(weight.device.type == "cpu" for weight in parameters.values())
    if set(children) == set(attention.ATTENTION_LAYERS) and hasattr(plain, "head_dim"):
        return attention.BranchAttention(plain) if on_cpu else None  # a GPU has kernels for it
    if (
        all(isinstance(children.get(name), LoraLayer) for name in MLP_LAYERS)
        and hasattr(plain, "act_fn")
        and len(children) <= len(MLP_LAYERS) + 1
    ):
        return GatedMLP(plain)
    eps = getattr(plain, "variance_epsilon", getattr(plain, "eps", None))
    if kind.__name__.endswith("RMSNorm") and list(parameters) == ["weight"] and eps is not None:
        weight = parameters["weight"]
        trained = weight.requires_grad or weight.is_meta
        return None if trained or not bool(weight.all()) else RMSNorm(plain, float(eps))
    return None


def _kind(plain: nn.Module) -> tuple[Any, ...]:
    """Return what layers have in common that one proof is for: some models turn positions in some layers only."""
    numbers = {name: value for name, value in vars(plain).items() if isinstance(value, bool | int | float | str)}
    numbers.update(dict.fromkeys(numbers.keys() & {"layer_idx", "in_features", "out_features"}, 0))
    parts = {(type(part), getattr(part, "compute_dtype", None)) for part in plain.modules()}
    dtypes = {(weight.dtype, weight.device) for weight in plain.parameters()}
    return type(plain), frozenset(parts), frozenset(dtypes), *sorted(numbers.items())


def difference(plain: nn.Module, turns: nn.Module | None = None) -> str:
    """Say how a layer and its replacement differ for random numbers, forward and backward; empty if they do not.

    In fp32, and if the layer has 16 bits, there too, as in a training: on a GPU under autocast.

    Args:
        plain: the layer.
        turns: what gives the cosines and sines of positions in its model.
    """
    before = RandomState.now()
    try:
        return _difference(plain, turns)
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError) as error:  # it has to be called otherwise
        if is_out_of_memory(error):
            return "no memory to compare it"
        return summarize_error(error)
    finally:
        before.restore()


def _difference(plain: nn.Module, turns: nn.Module | None) -> str:
    dtypes = [part.compute_dtype for part in parts_in_4_bits(plain)]
    dtypes += [weight.dtype for weight in plain.parameters() if weight.is_floating_point()]
    dtype, device = dtypes[0], next(plain.parameters()).device
    wide = copied(plain, torch.float32)
    loras = [part for part in wide.modules() if isinstance(part, LoraLayer)]
    if any(low_rank(part, torch.empty(0, device=device)) is None for part in loras):
        return "it is not plain LoRA, or of several dtypes"
    exact, fused = (_results(layer, turns, nullcontext()) for layer in (wide, _replacement(wide)))
    if not (apart := distance(fused, exact)) <= TOLERANCE:
        return f"it differs by {apart:.1g} in fp32"
    del wide, fused
    if torch.finfo(dtype).bits > HALF_BITS:
        return ""
    narrow = copied(plain, dtype)
    autocast = nullcontext() if device.type == "cpu" else torch.autocast(device.type, dtype)
    layers = narrow, _replacement(narrow)
    own, ours = (distance(_results(layer, turns, autocast, dtype), exact) for layer in layers)
    if ours <= max(ROUNDINGS * torch.finfo(dtype).eps, 2 * own):
        return ""
    return f"it differs by {ours:.1g} in 16 bits, where its own are off by {own:.1g}"


def parts_in_4_bits(layer: nn.Module) -> list[Any]:
    """Return the parts of a layer whose weights are in four bits."""
    return [part for part in layer.modules() if "compute_dtype" in vars(part)]


def copied(plain: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a layer for a comparison in a dtype, in training, with numbers in its adapter, whose B begins with 0."""
    made = copy.deepcopy(plain).train()
    random = torch.Generator().manual_seed(1)
    for weight in made.parameters():
        if weight.requires_grad:
            weight.data = torch.randn(weight.shape, generator=random).to(weight) / max(weight.shape) ** 0.5
        elif dtype is torch.float32 and weight.is_floating_point() and not hasattr(weight, "quant_state"):
            weight.data = weight.data.float()
    for part in parts_in_4_bits(made):
        state = part.weight.quant_state
        state.dtype = dtype if state.dtype is part.compute_dtype else state.dtype
        part.compute_dtype = dtype
    return made


def _results(
    layer: Any, turns: nn.Module | None, context: AbstractContextManager[Any], dtype: torch.dtype = torch.float32
) -> Result:
    """Return what a layer gives for random numbers, and the gradients of these and of its trained weights."""
    reads: Any = next((getattr(layer, name) for name in ("q_proj", "gate_proj") if hasattr(layer, name)), layer)
    weights = list(layer.parameters())
    size = getattr(reads, "in_features", weights[0].shape[0])
    device, random = weights[0].device, torch.Generator().manual_seed(0)
    inputs = torch.randn(1, PROBE_TOKENS, size, generator=random).to(device, dtype).requires_grad_()
    options = _attention_inputs(turns, inputs.detach()) if hasattr(layer, "q_proj") else {}
    torch.manual_seed(0)  # of dropout
    with torch.inference_mode(mode=False), torch.enable_grad(), context:
        out = layer(inputs, **options)
        out = out[0] if isinstance(out, tuple) else out
        above = torch.randn(out.shape, generator=random).to(out)
    trained = [weight for weight in weights if weight.requires_grad]
    return [out.detach(), *torch.autograd.grad(out, [inputs, *trained], above, allow_unused=True)]


def distance(results: Result, expected: Result) -> float:
    """Return how far tensors lie apart, as a share of their size, of those that lie farthest apart."""
    apart = [
        float((one.float() - two.float()).norm() / two.float().norm().clamp_min(1e-30))
        for one, two in zip(results, expected, strict=True)
        if one is not None and two is not None
    ]
    return float("inf") if any(map(math.isnan, apart)) else max(apart)


def _attention_inputs(turns: Any, inputs: torch.Tensor) -> dict[str, Any]:
    """Return what an attention is given besides its input: that it holds two rows, and their positions."""
    embeddings = turns(
        inputs, torch.arange(PROBE_TOKENS)[None]
    )  # as wide as the model has them: some turn a part of a head
    half = PROBE_TOKENS // 2
    rows = [TokenRow([*range(start, start + half)], [TokenRow.IGNORE] * half) for start in (0, half)]
    return {"position_embeddings": embeddings, "attention_mask": None, "branches": branches.branches(build_tree(rows))}
