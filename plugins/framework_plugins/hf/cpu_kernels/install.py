"""Replaces layers of a model by those of this folder, wherever both compute the same.

What a layer computes is seen from what it gives, not from its name: a norm with another formula or an MLP with another
activation stays as it is: a copy of the first layer of each kind is computed both ways before ours is installed, so
there is no list of models to keep. The layers' weights keep their names, so saving, loading and peft know of nothing.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

from framework.api.training import TokenRow
from framework_plugins.hf.cpu_kernels import attention
from framework_plugins.hf.cpu_kernels.low_rank import FastLoraLinear
from framework_plugins.hf.cpu_kernels.mlp import MLP_LAYERS, GatedMLP
from framework_plugins.hf.cpu_kernels.norm import RMSNorm
from framework_plugins.hf.packing import tree_attention as branches
from framework_plugins.hf.packing.tree import build_tree

TOLERANCE = 1e-4
"""How far outputs and gradients may lie apart, as a share of their size."""
PROBE_TOKENS = 8
ROTARY_MODULE = "rotary_emb"
"""What transformers calls the part of a model that gives the cosines and sines of positions."""


def use_fast_lora(config: LoraConfig) -> None:
    """Let peft make its layers of the kind that `low_rank.py` defines."""
    config._register_custom_module({nn.Linear: FastLoraLinear})  # noqa: SLF001 - documented in peft's developer guides


def convert_lora(model: nn.Module) -> None:
    """Turn LoRA layers that another library has made into those of `low_rank.py`: only the forward pass differs."""
    for layer in model.modules():
        if type(layer) is LoraLinear:
            layer.__class__ = FastLoraLinear


def install(model: nn.Module) -> None:
    """Replace norms and gated MLPs of a model with frozen weights, and its attention if it is sdpa.

    Args:
        model: a transformers model with its adapter.
    """
    proofs: dict[Any, bool] = {}
    turns = next((part for name, part in model.named_modules() if name.rpartition(".")[2] == ROTARY_MODULE), None)
    for parent in list(model.modules()):
        for name, plain in list(parent.named_children()):
            fast = _replacement(plain)
            if fast is None:
                continue
            kind = _kind(plain)
            if kind not in proofs:
                proofs[kind] = is_equivalent(plain, turns)
            if proofs[kind]:
                setattr(parent, name, fast)


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
    if set(children) == set(attention.ATTENTION_LAYERS) and hasattr(plain, "head_dim"):
        return attention.BranchAttention(plain)
    if (
        all(name in children for name in MLP_LAYERS)
        and hasattr(plain, "act_fn")
        and len(children) <= len(MLP_LAYERS) + 1
    ):
        return GatedMLP(plain)
    parameters = dict(plain.named_parameters())
    eps = getattr(plain, "variance_epsilon", getattr(plain, "eps", None))
    if type(plain).__name__.endswith("RMSNorm") and list(parameters) == ["weight"] and eps is not None:
        weight = parameters["weight"]
        trained = weight.requires_grad or weight.is_meta
        return None if trained or not bool(weight.all()) else RMSNorm(plain, float(eps))
    return None


def _kind(plain: nn.Module) -> tuple[Any, ...]:
    """Return what layers have in common that one proof is for: some models turn positions in some layers only."""
    numbers = {name: value for name, value in vars(plain).items() if isinstance(value, bool | int | float | str)}
    return type(plain), type(getattr(plain, "act_fn", None)), *sorted((numbers | {"layer_idx": 0}).items())


def is_equivalent(plain: nn.Module, turns: nn.Module | None = None) -> bool:
    """Whether a layer and its replacement give the same for random numbers, forward and backward, in fp32.

    Args:
        plain: the layer.
        turns: what gives the cosines and sines of positions in its model.
    """
    plain = copy.deepcopy(plain).float()
    fast = _replacement(plain)
    reads: Any = next((getattr(plain, name) for name in ("q_proj", "gate_proj") if hasattr(plain, name)), None)
    size = getattr(reads, "in_features", next(plain.parameters()).shape[0])
    random = torch.Generator().manual_seed(0)
    inputs, above = (torch.randn(1, PROBE_TOKENS, size, generator=random) for _ in range(2))
    results = []
    try:
        options = _attention_inputs(turns, inputs) if isinstance(fast, attention.BranchAttention) else {}
        for layer in (plain, fast):
            x = inputs.clone().requires_grad_()
            out = layer(x, **options)  # type: ignore[misc]
            out = out[0] if isinstance(out, tuple) else out
            (grad,) = torch.autograd.grad(out, x, above)
            results.append((out.detach(), grad))
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError):  # one has to be called in another way
        return False
    return all(
        float((expected - actual).norm()) <= TOLERANCE * float(expected.norm())
        for expected, actual in zip(*results, strict=True)
    )


def _attention_inputs(turns: Any, inputs: torch.Tensor) -> dict[str, Any]:
    """Return what an attention is given besides its input: that it holds two rows, and their positions."""
    embeddings = turns(
        inputs, torch.arange(PROBE_TOKENS)[None]
    )  # as wide as the model has them: some turn a part of a head
    half = PROBE_TOKENS // 2
    rows = [TokenRow([*range(start, start + half)], [TokenRow.IGNORE] * half) for start in (0, half)]
    return {"position_embeddings": embeddings, "attention_mask": None, "branches": branches.branches(build_tree(rows))}
