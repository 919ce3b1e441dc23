"""What the exporters of a plan write and hold in memory, worked out from the shape of the model."""

from __future__ import annotations

from collections.abc import Iterator

from framework import host
from framework.memory import Shape
from framework.plan import Choice, Plan
from framework.records import ExportNeed
from framework_exports.config import (
    Dtype,
    GgufExporterConfig,
    MergedExporterConfig,
    ModelCardExporterConfig,
    OllamaExporterConfig,
    ParityConfig,
    PushExporterConfig,
)
from framework_exports.quantizations import BLOCK, gguf_bytes

WIDTHS = {Dtype.bf16: 2, Dtype.fp16: 2, Dtype.fp32: 4}
"""Bytes of a weight."""
TEXT = 2**20
"""A file of text, generously."""
COPIES = 3
"""fp32 copies of the largest matrix while an adapter is merged into it: weight, update, sum."""
ROWS, TOKENS = 12, 128
"""What the parity gate asks: rows, and tokens of each, about; logits of two models are held."""
FP32, BF16 = 4, 2
SPARE = 1.2
"""How many times its weights a model takes while it is loaded."""


def needs(plan: Plan, shape: Shape) -> Iterator[ExportNeed]:
    """Give what each exporter needs, those left out that write the trained weights again."""
    full = plan.adapter.component.name == "full"
    for name, choice in plan.exporter.items():
        if found := _need(name, choice, shape, full=full):
            yield found


def _need(name: str, choice: Choice, shape: Shape, *, full: bool) -> ExportNeed | None:
    settings = choice.config
    if isinstance(settings, MergedExporterConfig):
        width = WIDTHS.get(settings.dtype, FP32 if full else BF16)
        return ExportNeed(name, shape.total * width, memory=_memory(shape, settings.parity))
    if isinstance(settings, GgufExporterConfig):
        whole = shape.total * WIDTHS[Dtype.fp32 if "f32" in settings.quantizations else Dtype.fp16]
        blocks = shape.hidden % BLOCK == 0
        files = sum(gguf_bytes(shape.total, one, in_blocks=blocks) for one in settings.quantizations)
        return ExportNeed(name, files, scratch=2 * whole, memory=_memory(shape, settings.parity))
    if isinstance(settings, OllamaExporterConfig | ModelCardExporterConfig | PushExporterConfig):
        return ExportNeed(name, TEXT)
    return None


def _memory(shape: Shape, parity: ParityConfig) -> int:
    """Return what merging takes, or comparing where that is more."""
    if not parity.check:
        return merging(shape)
    free = host.memory().available
    sizes = (comparing(shape, width) for width in (FP32, BF16))
    return max(merging(shape), next((size for size in sizes if size < free), 0))  # none fits: nothing is compared


def largest(shape: Shape) -> int:
    """Return the weights of the largest matrix."""
    return max(shape.vocab * shape.hidden, *(one * two for one, two in shape.linears.values()))


def merging(shape: Shape) -> int:
    """Return the bytes that merging takes."""
    return COPIES * FP32 * largest(shape)


def comparing(shape: Shape, width: int) -> int:
    """Return the bytes that comparing takes, with so many bytes of a weight in memory."""
    logits = 2 * ROWS * TOKENS * shape.vocab * FP32
    return int(SPARE * shape.total * width) + logits
