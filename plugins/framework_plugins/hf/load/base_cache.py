"""The frozen base, kept between trials of a sweep: weights are read once, and every trial has its own modules.

The kept model is never used itself. A trial gets a copy of its modules with the same weights, so hooks, flags, adapters
and other layers of a trial are removed with it. Frozen weights are never written; a check proves that before they are
given to another trial. All weights of a full fine-tuning change, so nothing is kept there, and 8-bit layers move theirs
in their first call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from framework.api import files as cached
from framework.api.registry import shared_cache

KIND = "base"


@dataclass(frozen=True)
class Mark:
    """A weight, and by what it is seen that it was written to, or put elsewhere."""

    tensor: torch.Tensor
    version: int
    place: int
    trained: bool

    @property
    def is_as_it_was(self) -> bool:
        """Whether it still is what was read."""
        return self.tensor._version == self.version and self.tensor.data_ptr() == self.place  # noqa: SLF001 - no public name


@dataclass(frozen=True)
class Base:
    """A model that is never used, and its weights."""

    model: Any
    marks: list[Mark]

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
    """Return a frozen base as `load` returns it, from another trial of the sweep if that had the same one.

    Args:
        key: over all that determines the base; empty where it is not to be shared.
        load: reads it.
    """
    cache = shared_cache()
    cached: Base | None = cache.find(KIND, key)
    if cached is not None and all(mark.is_as_it_was for mark in cached.marks):
        return cached.copy()
    cached = None
    cache.drop(KIND)  # before another one takes memory
    model = load()
    if not key or not _stays_as_it_is(model):
        return model
    marks = [
        Mark(tensor, tensor._version, tensor.data_ptr(), tensor.requires_grad)  # noqa: SLF001 - as above
        for tensor in _tensors(model)
    ]
    on_gpu = sum(mark.tensor.nbytes for mark in marks if mark.tensor.is_cuda)
    base = Base(model, marks)
    cache.keep(KIND, key, base, gpu_bytes=on_gpu)
    return base.copy() if cache.find(KIND, key) is base else model


def _stays_as_it_is(model: Any) -> bool:
    """Whether the weights of a model are left alone when it is called; of those that are quantized, 4-bit ones are."""
    quantized = getattr(model, "hf_quantizer", None) is not None and not getattr(model, "is_loaded_in_4bit", False)
    return not quantized and not any(tensor.is_inference() for tensor in _tensors(model))


def key_of(folder: Path, *settings: Any) -> str:
    """Return a key over the files of a model and the settings it is loaded with."""
    files = sorted(path for path in folder.iterdir() if path.suffix in {".safetensors", ".json", ".py"})
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return cached.key_of(str(folder.resolve()), states, *settings)


def _tensors(model: Any) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
