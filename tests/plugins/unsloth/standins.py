"""Lets the code that Unsloth runs on a GPU run on a CPU, with torch in the place of what only a GPU has.

For a process with `UNSLOTH_ALLOW_CPU=1`, in which Unsloth takes its way for CUDA without a card. Its forward functions,
its loading, its adapters and its fused loss are those of the installed wheel. Replaced are its Triton kernels for
positions and norms, what asks for the card, and xformers. A plugin file, which is imported
first in the process that starts the run: since transformers is imported here, the run goes on in a process of its own,
in which Unsloth comes first.
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


class LowerTriangularMask:
    """What xformers calls so."""

    def keeps(self, queries: int, keys: int) -> Tensor:
        return torch.ones(queries, keys, dtype=torch.bool).tril()


class BlockDiagonalCausalMask:
    """What xformers calls so: rows one behind another."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths

    @classmethod
    def from_seqlens(cls, lengths: list[int]) -> BlockDiagonalCausalMask:
        return cls(list(lengths))

    def keeps(self, queries: int, keys: int) -> Tensor:
        mask = torch.block_diag(*(torch.ones(length, length).tril() for length in self.lengths)).bool()
        assert mask.shape == (queries, keys)
        return mask


def xformers_attention(query: Tensor, key: Tensor, value: Tensor, attn_bias: Any = None) -> Tensor:
    """Attend as `memory_efficient_attention` does: (rows, tokens, heads, features), to everything without a bias."""
    shape = query.shape
    query, key, value = (part.flatten(2, -2).transpose(1, 2) for part in (query, key, value))
    mask = None if attn_bias is None else attn_bias.keeps(query.shape[-2], key.shape[-2])
    return functional.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).reshape(shape)


def rope(query: Tensor, key: Tensor, cos: Tensor, sin: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
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


def cached_angles(self: Any, _: Any) -> int:
    """Make the angles of positions in the CPU's memory, as if that was the first card."""
    cached, size = self.multi_gpu_cos_cached[0], self.current_rope_size
    if cached is None or len(cached) < self._rope_cache_rows():
        self._set_cos_sin_cache(self._rope_cache_rows(), torch.device("cpu", 0), self._rope_cache_dtype)
        self.current_rope_size = size
    return 0


def replace(*, with_xformers: bool) -> None:
    """Put the stand-ins in their places."""
    from framework_plugins.unsloth.backend import Loading
    from unsloth.models import gemma, llama, mistral, qwen3
    from unsloth.utils import attention_dispatch, packing

    forwards = (llama, mistral, qwen3, gemma)
    load = AutoModelForCausalLM.from_pretrained.__func__

    def on_the_cpu(cls: Any, *arguments: Any, **settings: Any) -> Any:
        return load(cls, *arguments, **{**settings, "device_map": {"": "cpu"}})

    chosen = Loading.way

    def as_for_a_card(self: Loading, plan: Any, machine: Any, *rest: Any) -> Any:
        return chosen(self, plan, dataclasses.replace(machine, device="cuda"), *rest)

    Loading.way = as_for_a_card  # type: ignore[method-assign]
    AutoModelForCausalLM.from_pretrained = classmethod(on_the_cpu)
    torch.cuda.get_device_capability = lambda *_: (7, 5)
    llama.DEVICE_COUNT, llama.DEVICE_TYPE_TORCH = 1, "cpu"
    llama.get_device_stats = lambda: ("no card", "", 8.0)
    llama.get_current_device = lambda: torch.device("cpu")
    llama._PerDeviceRopeCache._ensure_rope_cache = cached_angles
    for module in forwards:
        module.fast_rope_embedding, module.fast_rms_layernorm = rope, rms_norm
    if with_xformers:
        masks = SimpleNamespace(
            LowerTriangularMask=LowerTriangularMask, BlockDiagonalCausalMask=BlockDiagonalCausalMask
        )
        for module in (*forwards, attention_dispatch):
            module.HAS_XFORMERS, module.xformers = True, SimpleNamespace(attn_bias=masks)
        attention_dispatch.xformers_attention = xformers_attention
        attention_dispatch.XFORMERS_BLOCK_DIAG_CLS = packing._XFormersBlockMask = BlockDiagonalCausalMask


if "unsloth" in sys.modules:
    replace(with_xformers=os.environ.get("WITH_XFORMERS") == "1")


@hookimpl
def framework_advice(plan: Any, work: Any) -> list[str]:
    """Be a plugin."""
    del plan, work
    return []
