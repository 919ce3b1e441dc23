"""Lets the code that Unsloth runs on a GPU run on a CPU, with torch instead of what only a GPU has.

For a process with `UNSLOTH_ALLOW_CPU=1`, in which Unsloth takes its way for CUDA without a card. Its forward functions,
its loading, its adapters and its fused loss are those of the installed wheel. Replaced are its Triton kernels for
positions, norms and the fused MLP, what asks for the card, and xformers. A plugin file, which is imported first in the
process that starts the run: since transformers is imported here, the run continues in a process of its own, where
Unsloth is first.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM

from framework import hookimpl

Tensor = torch.Tensor
biases: list[Any] = []
"""With which xformers was asked to attend."""
fused: list[torch.dtype] = []
"""In which the fused MLP was computed."""


class LowerTriangularMask:
    """What xformers calls so."""

    def keeps(self, tokens: int) -> Tensor:
        """Return what a token may see: (tokens, tokens)."""
        return torch.ones(tokens, tokens, dtype=torch.bool).tril()


class BlockDiagonalCausalMask:
    """What xformers calls so: rows one behind another, and how far a token sees."""

    def __init__(self, lengths: list[int], window: int | None = None) -> None:
        self.lengths, self.window = lengths, window

    @classmethod
    def from_seqlens(cls, lengths: list[int]) -> BlockDiagonalCausalMask:
        return cls(list(lengths))

    def make_local_attention(self, window_size: int) -> BlockDiagonalCausalMask:
        return type(self)(self.lengths, window_size)

    def keeps(self, tokens: int) -> Tensor:
        """Return what a token may see: (tokens, tokens)."""
        rows: Any = [torch.ones(length, length).tril() for length in self.lengths]
        mask: Tensor = torch.block_diag(*rows).bool()  # type: ignore[no-untyped-call]
        if self.window is not None:
            mask &= torch.ones_like(mask).triu(1 - self.window)
        return mask[:tokens, :tokens]


def xformers_attention(query: Tensor, key: Tensor, value: Tensor, attn_bias: Any = None) -> Tensor:
    """Attend as `memory_efficient_attention` does: (rows, tokens, heads, features), to everything without a bias."""
    biases.append(attn_bias)
    shape = query.shape
    query, key, value = (part.flatten(2, -2).transpose(1, 2) for part in (query, key, value))
    mask = None if attn_bias is None else attn_bias.keeps(query.shape[-2])
    return functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).reshape(shape)


def rope(
    query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Turn queries and keys by their positions: (rows, heads, tokens, features)."""
    tokens = query.shape[-2]
    cos, sin = (part[:tokens] if positions is None else part[positions.long()][:, None] for part in (cos, sin))

    def turned(part: Tensor) -> Tensor:
        one, two = part.chunk(2, -1)
        return part * cos + torch.cat((-two, one), -1) * sin

    return turned(query), turned(key)


def rms_norm(layer: Any, states: Tensor, *, gemma: bool = False, **_: Any) -> Tensor:
    """Norm as `fast_rms_layernorm` does."""
    weight = layer.weight + 1 if gemma else layer.weight
    return functional.rms_norm(states, weight.shape, weight, layer.variance_epsilon)


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Compute what `swiglu_fg_kernel` does."""
    fused.append(up.dtype)
    return functional.silu(gate.float()).to(up.dtype) * up


def cached_angles(self: Any, _: Any) -> int:
    """Make the angles of positions in the CPU's memory, as if that was the first card."""
    cached, size = self.multi_gpu_cos_cached[0], self.current_rope_size
    if cached is None or len(cached) < self._rope_cache_rows():
        self._set_cos_sin_cache(self._rope_cache_rows(), torch.device("cpu", 0), self._rope_cache_dtype)
        self.current_rope_size = size
    return 0


def put(name: str, value: Any) -> None:
    """Give a name another value in every module of Unsloth that has it."""
    for module, names in (
        (module, vars(module)) for key, module in [*sys.modules.items()] if key.startswith("unsloth.")
    ):
        if name in names:
            setattr(module, name, value)


def replace() -> None:
    """Put the stand-ins in their places."""
    from framework_plugins.unsloth.backend import Loading
    from framework_plugins.unsloth.model import UnslothModel

    load, plan_forward = AutoModelForCausalLM.from_pretrained.__func__, Loading.forward_plan

    def on_the_cpu(cls: Any, *arguments: Any, **settings: Any) -> Any:
        return load(cls, *arguments, **{**settings, "device_map": {"": "cpu"}})

    def as_for_a_card(self: Loading, plan: Any, machine: Any, *rest: Any) -> Any:
        return plan_forward(self, plan, dataclasses.replace(machine, device="cuda"), *rest)

    AutoModelForCausalLM.from_pretrained = classmethod(on_the_cpu)
    Loading.forward_plan = as_for_a_card  # type: ignore[method-assign, assignment]
    # Offloaded to the CPU's memory with what only a card has; all else of Unsloth's checkpointing is as there.
    UnslothModel.checkpointing = property(lambda self: self.machine.checkpointing)  # type: ignore[assignment]
    put("fast_rope_embedding", rope)
    put("fast_rms_layernorm", rms_norm)
    put("swiglu_fg_kernel", swiglu)
    put("swiglu_DWf_DW_dfg_kernel", sys.modules["unsloth.kernels.swiglu"]._DWf_DW_dfg_traced)  # noqa: SLF001
    put("get_device_stats", lambda: ("no card", "", 8.0))
    put("get_current_device", lambda: torch.device("cpu"))
    put("DEVICE_COUNT", 1)
    put("SUPPORTS_BFLOAT16", value=True)
    put("DEVICE_TYPE_TORCH", "cpu")
    sys.modules["unsloth.models.llama"]._PerDeviceRopeCache._ensure_rope_cache = cached_angles  # noqa: SLF001
    torch.cuda.get_device_capability = lambda *_: (7, 5)


def install_xformers() -> None:
    """Let Unsloth find xformers."""
    masks = SimpleNamespace(LowerTriangularMask=LowerTriangularMask, BlockDiagonalCausalMask=BlockDiagonalCausalMask)
    put("xformers", SimpleNamespace(attn_bias=masks))
    put("HAS_XFORMERS", value=True)
    put("xformers_attention", xformers_attention)
    put("XFORMERS_BLOCK_DIAG_CLS", BlockDiagonalCausalMask)
    put("_XFormersBlockMask", BlockDiagonalCausalMask)


if "unsloth" in sys.modules and os.environ.get("UNSLOTH_ALLOW_CPU") == "1":
    replace()


@hookimpl
def framework_advice(plan: Any, work: Any) -> list[str]:
    """Be a plugin."""
    del plan, work
    return []
