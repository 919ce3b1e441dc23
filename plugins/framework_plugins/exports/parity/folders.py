"""Logits of model folders, by plain transformers and peft: none of what trains here takes part.

All is computed in fp32, also where the weights fit into memory in 16 bits only: computing in bf16 moves more tokens
than a merge does, see docs/explanation/parity.md.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from framework.api.machine import host_memory
from framework.api.plan import Plan
from framework.api.protocols import ModelSource
from framework_plugins.exports.documents import MODEL, read
from framework_plugins.exports.parity.rows import CheckRow

Logits = NDArray[np.float32]
WIDTHS = {torch.float32: 4, torch.bfloat16: 2}
SHORT = {"bfloat16": torch.bfloat16, "float16": torch.float16}
SPARE = 1.2
"""How many times its weights a model needs while it is loaded and asked."""


def trained_logits(
    plan: Plan, checkpoint: Path, rows: Sequence[CheckRow], memory_dtype: torch.dtype
) -> tuple[list[Logits], float]:
    """Return the logits of the trained weights on their base in 16 bits, as peft puts them together.

    And the size of the largest number that any layer gives on the way.
    """
    largest = [0.0]
    trust = plan.model.config.trust_remote_code

    def load() -> Any:
        if not (checkpoint / "adapter_config.json").is_file():
            return _load(checkpoint, memory_dtype, trust=trust)
        source: ModelSource = plan.model.create()
        base = _load(source.fetch(weights=True).folder, memory_dtype, trust=trust)
        return PeftModel.from_pretrained(base, checkpoint)

    logits = list(_logits(load, rows, partial(_watch, largest)))
    return logits, largest[0]


def folder_logits(
    folder: Path, rows: Sequence[CheckRow], memory_dtype: torch.dtype, *, trust: bool
) -> Iterator[Logits]:
    """Give the logits of a complete model folder, row by row."""
    return _logits(lambda: _load(folder, memory_dtype, trust=trust), rows)


def affordable(folder: Path) -> torch.dtype | None:
    """Return the number format in which memory holds the weights of a folder: fp32, bf16 for any 16 bits, or None.

    On disk they have 16 bits, or 32 after full fine-tuning.
    """
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    free = host_memory().available
    return next((dtype for dtype, width in WIDTHS.items() if size / 2 * width * SPARE < free), None)


def on_disk(folder: Path) -> str:
    """Return the number format that the config of a folder names: bfloat16, float16, float32."""
    config = read(folder / MODEL)
    text = config.get("text_config") or {}
    return str(text.get("dtype") or config.get("dtype") or config.get("torch_dtype") or "float32")


def _load(folder: Path, memory_dtype: torch.dtype, *, trust: bool) -> Any:
    """Load a model; one that is held in 16 bits keeps those that it has on disk."""
    dtype = memory_dtype if memory_dtype is torch.float32 else SHORT.get(on_disk(folder), memory_dtype)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust, use_safetensors=True)


def _logits(
    load: Callable[[], Any], rows: Sequence[CheckRow], watch: Callable[[nn.Module], None] | None = None
) -> Iterator[Logits]:
    model = load().eval()
    for module in model.modules():
        if watch:
            watch(module)
        if any(_is_short(weight) for weight in module.parameters(recurse=False)):
            _compute_in_fp32(module)
    with torch.no_grad():
        for row in rows:
            yield model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float().numpy()
    del model
    gc.collect()


def _watch(largest: list[float], module: nn.Module) -> None:
    """Keep the size of the largest number that a module gives; a whole layer gives the sum of its parts."""

    def look(_: nn.Module, __: Any, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) else output
        if isinstance(first, torch.Tensor) and first.is_floating_point():
            largest[0] = max(largest[0], first.abs().max().item())

    module.register_forward_hook(look)


def _is_short(weight: torch.Tensor) -> bool:
    return weight.is_floating_point() and weight.dtype is not torch.float32


def _compute_in_fp32(module: nn.Module) -> None:
    """Let a module have its own weights in fp32 while it computes, which is exact, and in 16 bits else."""
    short: list[torch.Tensor] = []

    def widen(*_: Any) -> None:
        short.extend(weight.data for weight in module.parameters(recurse=False))
        for weight in module.parameters(recurse=False):
            weight.data = weight.data.float() if weight.is_floating_point() else weight.data

    def shorten(*_: Any) -> None:
        for weight, tensor in zip(module.parameters(recurse=False), short, strict=True):
            weight.data = tensor
        short.clear()

    module.register_forward_pre_hook(widen)
    module.register_forward_hook(shorten)
