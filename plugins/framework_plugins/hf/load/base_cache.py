"""The frozen base, kept between trials of a sweep: weights are read once, and every trial has its own modules.

The kept model is never used itself. A trial gets a copy of its modules with the same weights, so hooks, flags, adapters
and other layers of a trial are removed with it. Frozen weights are never written; a check proves that before they are
given to another trial. All weights of a full fine-tuning change, so nothing is kept there, and 8-bit layers move theirs
in their first call. What the base answered is kept too: trials with the same `base_key` evaluate it once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework import Plan
from framework.api import Affects, key_of
from framework.api.training import shared_cache
from framework_plugins.hf.load.adapter_config import trained_config
from framework_plugins.hf.packing.eligibility import ForwardPlan

CACHE_KIND = "base"


@dataclass(frozen=True)
class WeightMark:
    """A weight, with its version and address when it was read: either changes if the weight is written or moved."""

    tensor: torch.Tensor
    version: int
    place: int
    trained: bool

    @property
    def is_unchanged(self) -> bool:
        """Whether the weight is as it was read."""
        return self.tensor._version == self.version and self.tensor.data_ptr() == self.place  # noqa: SLF001 - no public name


@dataclass(frozen=True)
class CachedBase:
    """A model that is never used, and its weights."""

    model: Any
    marks: list[WeightMark]

    def copy(self) -> Any:
        """Return new modules with the same weights in them."""
        memo: dict[int, Any] = {}
        for mark in self.marks:
            mark.tensor.grad = None
            mark.tensor.requires_grad_(mark.trained)
            memo[id(mark.tensor)] = mark.tensor
            state = getattr(mark.tensor, "quant_state", None)
            memo |= {id(state): state} if state is not None else {}
        return copy.deepcopy(self.model, memo)


def shared_base(key: str, load: Callable[[], Any]) -> Any:
    """Return a frozen base as `load` returns it, shared with another trial of the sweep that has the same.

    Args:
        key: over all that determines the base; empty if it is not to be shared.
        load: reads it.
    """
    cache = shared_cache()
    cached: CachedBase | None = cache.find(CACHE_KIND, key)
    if cached is not None and all(mark.is_unchanged for mark in cached.marks):
        return cached.copy()
    cached = None
    cache.drop(CACHE_KIND)  # before another one takes memory
    model = load()
    if not key or not _is_read_only(model):
        return model
    marks = [
        WeightMark(tensor, tensor._version, tensor.data_ptr(), tensor.requires_grad)  # noqa: SLF001 - as above
        for tensor in _tensors(model)
    ]
    on_gpu = sum(mark.tensor.nbytes for mark in marks if mark.tensor.is_cuda)
    base = CachedBase(model, marks)
    cache.keep(CACHE_KIND, key, base, gpu_bytes=on_gpu)
    return base.copy() if cache.find(CACHE_KIND, key) is base else model


def _is_read_only(model: Any) -> bool:
    """Whether a call of the model leaves its weights unchanged; of quantized weights, only 4-bit ones do."""
    quantized = getattr(model, "hf_quantizer", None) is not None and not getattr(model, "is_loaded_in_4bit", False)
    return not quantized and not any(tensor.is_inference() for tensor in _tensors(model))


def files_key(folder: Path, *settings: Any) -> str:
    """Return a key over the files of a model and the settings it is loaded with."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".py"})
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return key_of(str(folder.resolve()), states, *settings)


def base_key(plan: Plan, facts: Mapping[str, str], forward_plan: ForwardPlan, folder: Path, encoding: str) -> str:
    """Return a hash over all that the base's answers depend on; empty if the weights themselves are trained.

    Of the adapter its kind counts, which tells how layers are replaced; with the adapter off its weights do not.

    Args:
        plan: the run.
        facts: the settings picked for this machine.
        forward_plan: how rows go through the model.
        folder: the base.
        encoding: stands for tokenizer, template and masks.
    """
    if trained_config(plan) is None or plan.launch.config.group():
        return ""
    return files_key(folder, encoding, plan.affecting(Affects.base), dict(facts), str(forward_plan))


def _tensors(model: Any) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
