"""What the exporters of a plan write and hold in memory, worked out from the shape of the model."""

from __future__ import annotations

from collections.abc import Iterator

from framework.api.backend import Shape
from framework.api.machine import host_memory
from framework.api.plan import Plan, Selection
from framework.api.records import ExportNeed
from framework_plugins.exports.config import (
    Dtype,
    GgufExporterConfig,
    MergedExporterConfig,
    ModelCardExporterConfig,
    OllamaExporterConfig,
    ParityConfig,
    PushExporterConfig,
)
from framework_plugins.exports.gguf.quantizations import BLOCK, gguf_bytes
from framework_plugins.exports.parity.long_row import END

WIDTHS = {Dtype.bf16: 2, Dtype.fp16: 2, Dtype.fp32: 4}
"""Bytes of a weight."""
TEXT = 2**20
"""A file of text, generously."""
SHARD = 5 * 10**9
"""The largest file of weights that is usual. The one that is read is mapped into memory while it is merged."""
PIECES = 48 * 2**20
"""The piece of a weight that is being merged, its sum, and the adapter's matrices; measured."""
ROWS, TOKENS = 12, 128
"""What the parity gate asks: rows, and tokens of each, about, besides the end of a long one. It holds the logits of the
trained model, of the export, of the merged weights that files are made of, and of the base."""
FP32, BF16 = 4, 2
SPARE = 1.2
"""How many times its weights a model takes while it is loaded."""


def needs(plan: Plan, shape: Shape) -> Iterator[ExportNeed]:
    """Give what each exporter needs, those left out that write the trained weights again."""
    full = plan.adapter.component.name == "full"
    for name, choice in plan.exporter.items():
        if need := _need(name, choice, shape, full=full):
            yield need


def _need(name: str, choice: Selection, shape: Shape, *, full: bool) -> ExportNeed | None:
    settings = choice.config
    if isinstance(settings, MergedExporterConfig):
        width = WIDTHS.get(settings.dtype, FP32 if full else BF16)
        return ExportNeed(name, shape.total * width, memory=_memory(shape, settings.parity, full=full))
    if isinstance(settings, GgufExporterConfig):
        whole = shape.total * WIDTHS[Dtype.fp32 if "f32" in settings.quantizations else Dtype.fp16]
        blocks = shape.hidden % BLOCK == 0
        files = sum(gguf_bytes(shape.total, one, in_blocks=blocks) for one in settings.quantizations)
        memory = _memory(shape, settings.parity, full=full, models=4)
        return ExportNeed(name, files, scratch=2 * whole, memory=memory)
    if isinstance(settings, OllamaExporterConfig | ModelCardExporterConfig | PushExporterConfig):
        return ExportNeed(name, TEXT)
    return None


def _memory(shape: Shape, parity: ParityConfig, *, full: bool, models: int = 2) -> int:
    """Return what merging takes, or comparing where that is more."""
    merged = merging(shape, FP32 if full else BF16)
    if not parity.check:
        return merged
    free = host_memory().available
    sizes = (comparing(shape, width, models) for width in (FP32, BF16))
    return max(merged, next((size for size in sizes if size < free), 0))  # where none fits, nothing is compared


def merging(shape: Shape, width: int) -> int:
    """Return the bytes that merging takes, from the bytes of the weights on disk."""
    return min(shape.total * width, SHARD) + PIECES


def comparing(shape: Shape, width: int, models: int = 2) -> int:
    """Return the bytes that comparing takes, from the bytes of a weight in memory and the number of models.

    Weights that are held in 16 bits have 32 while they compute, one matrix at a time.
    """
    logits = models * (ROWS * TOKENS + END) * shape.vocab * FP32
    matrix = max(shape.vocab * shape.hidden, *(one * two for one, two in shape.linears.values()))
    return int(SPARE * shape.total * width) + logits + (FP32 * matrix if width == BF16 else 0)
