"""Logits of model folders, by plain transformers and peft: none of what trains here takes part."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import PeftModel
from transformers import AutoModelForCausalLM

from framework import host
from framework.plan import Plan
from framework.protocols import ModelSource
from framework_exports.parity.rows import CheckRow

Logits = NDArray[np.float32]
WIDTHS = {torch.float32: 4, torch.bfloat16: 2}
SPARE = 1.2
"""How many times its weights a model needs while it is loaded and asked."""


def trained_logits(plan: Plan, checkpoint: Path, rows: Sequence[CheckRow], dtype: torch.dtype) -> list[Logits]:
    """Return the logits of the trained weights on their base in 16 bits, as peft puts them together."""
    trust = plan.model.config.trust_remote_code

    def load() -> Any:
        if not (checkpoint / "adapter_config.json").is_file():
            return _load(checkpoint, dtype, trust=trust)
        source: ModelSource = plan.model.create()
        base = _load(source.fetch(weights=True).folder, dtype, trust=trust)
        return PeftModel.from_pretrained(base, checkpoint)

    return list(_logits(load, rows))


def folder_logits(folder: Path, rows: Sequence[CheckRow], dtype: torch.dtype, *, trust: bool) -> Iterator[Logits]:
    """Give the logits of a complete model folder, row by row."""
    return _logits(lambda: _load(folder, dtype, trust=trust), rows)


def affordable(folder: Path) -> torch.dtype | None:
    """Return the number format in which the weights of a folder fit into memory: fp32, bf16, or None.

    On disk they have 16 bits, or 32 after full fine-tuning.
    """
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    free = host.memory().available
    return next((dtype for dtype, width in WIDTHS.items() if size / 2 * width * SPARE < free), None)


def _load(folder: Path, dtype: torch.dtype, *, trust: bool) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=trust, use_safetensors=True)


def _logits(load: Callable[[], Any], rows: Sequence[CheckRow]) -> Iterator[Logits]:
    model = load().eval()
    with torch.inference_mode():
        for row in rows:
            yield model(input_ids=torch.tensor([row.ids]), use_cache=False).logits[0].float().numpy()
    del model
    gc.collect()
