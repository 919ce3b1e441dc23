"""The number format of products in a training pass, and the evaluation mode of a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear


@contextmanager
def with_gradients() -> Iterator[None]:
    """Let torch compute gradients meanwhile, whatever the caller has switched off."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


@contextmanager
def tf32(device: str) -> Iterator[None]:
    """Let a GPU multiply fp32 in TF32 meanwhile: ten bits after the point instead of 23, up to eight times the speed.

    Only for passes of a training. What is compared with something else, scores, answers and exports, is computed in
    fp32 as such: TF32 swaps near ties as fp16 does. The old name of the setting sets both of torch's, the new one does
    not, and what asks for the other (torch.compile does) raises then.
    """
    before = torch.get_float32_matmul_precision() if device == "cuda" else ""
    if before != "highest":  # no GPU, or the user's own choice, which stays
        yield
        return
    # Not transformers' `tf32`, which holds for the whole process, evaluations included.
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def rounded_once(model: Any, device: str) -> Iterator[None]:
    """Let autocast alone choose the format in which LoRA layers on a GPU read their input meanwhile.

    peft raises 16 bits to the fp32 of the adapter, and autocast rounds that to the same 16 bits again: each layer keeps
    a copy of its own of what several layers read.
    """
    layers = [] if device == "cpu" else plain_lora(model)
    for layer in layers:
        layer.cast_input_dtype_enabled = False
    try:
        yield
    finally:
        for layer in layers:
            layer.cast_input_dtype_enabled = True


def plain_lora(model: Any) -> list[LoraLinear]:
    """Return the LoRA layers that do nothing but add a product; DoRA also takes the format of its norms from it."""
    return [layer for layer in model.modules() if isinstance(layer, LoraLinear) and not layer.lora_variant]


def to_eval_mode(model: Any, device: str) -> Any:
    """Put a model into evaluation mode and return it.

    On a CPU, bitsandbytes (seen in 0.50) repacks 4-bit weights for inference in their first call in evaluation mode,
    for good, and the product of repacked weights has no gradient: a training afterwards would be silently wrong. 4-bit
    layers have no dropout, so that they stay in training mode changes nothing else.
    """
    model.eval()
    if device == "cpu" and "bitsandbytes" in sys.modules:  # else no layer is one of its layers
        from bitsandbytes.nn import Linear4bit  # noqa: PLC0415 - a second, for those who have it already

        for module in model.modules():
            if isinstance(module, Linear4bit):
                module.training = True
    return model
