"""The disk and memory that exports need: estimated for the plan, and compared with the free disk before an export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework import FrameworkError, Plan, Selection
from framework.api import GIB, ExportContext, ExportNeed, display_path, host_memory
from framework.api.training import Shape
from framework_plugins.exports.config import (
    Dtype,
    GgufExporterConfig,
    MergedExporterConfig,
    ModelCardExporterConfig,
    OllamaExporterConfig,
    ParityConfig,
    PushExporterConfig,
)
from framework_plugins.exports.export_folder import MODEL_CONFIG, read_json
from framework_plugins.exports.llama.quantizations import K_QUANT_BLOCK, gguf_bytes
from framework_plugins.exports.parity.check_rows import COMPARED_TAIL

FP32_BYTES, BF16_BYTES = 4, 2
BYTES_PER_WEIGHT = {Dtype.bf16: BF16_BYTES, Dtype.fp16: BF16_BYTES, Dtype.fp32: FP32_BYTES}
TEXT_FILE_BYTES = 2**20
"""A file of text, generously."""
SHARD_BYTES = 5 * 10**9
"""The largest file of weights that is usual. The one that is read is mapped into memory while it is merged."""
MERGE_BUFFER_BYTES = 48 * 2**20
"""The piece of a weight that is being merged, its sum, and the adapter's matrices; measured."""
PARITY_ROWS, TOKENS_PER_ROW = 12, 128
"""What the parity gate asks: rows, and tokens of each, about, besides the end of a long one. It holds the logits of the
trained model, of the export, of the merged weights that files are made of, and of the base."""
LOADING_FACTOR = 1.2
"""How many times its weights a model takes while it is loaded."""
VOCABULARY_BYTES = 2**24
"""Bytes of a GGUF file for its vocabulary."""


def export_needs(plan: Plan, shape: Shape) -> Iterator[ExportNeed]:
    """Give the needs of each exporter, except those that write the trained weights again."""
    full = plan.adapter.component.name == "full"
    for name, choice in plan.exporter.items():
        if need := _exporter_need(name, choice, shape, full=full):
            yield need


def _exporter_need(name: str, choice: Selection, shape: Shape, *, full: bool) -> ExportNeed | None:
    settings = choice.config
    if isinstance(settings, MergedExporterConfig):
        width = BYTES_PER_WEIGHT.get(settings.dtype, FP32_BYTES if full else BF16_BYTES)
        return ExportNeed(name, shape.total * width, memory=_memory_need(shape, settings.parity, full=full))
    if isinstance(settings, GgufExporterConfig):
        unquantized_bytes = (
            shape.total * BYTES_PER_WEIGHT[Dtype.fp32 if "f32" in settings.quantizations else Dtype.fp16]
        )
        blocks = shape.hidden % K_QUANT_BLOCK == 0
        files = sum(gguf_bytes(shape.total, quantization, in_blocks=blocks) for quantization in settings.quantizations)
        memory = _memory_need(shape, settings.parity, full=full, models=4)
        return ExportNeed(name, files, scratch=2 * unquantized_bytes, memory=memory)
    if isinstance(settings, OllamaExporterConfig | ModelCardExporterConfig | PushExporterConfig):
        return ExportNeed(name, TEXT_FILE_BYTES)
    return None


def _memory_need(shape: Shape, parity: ParityConfig, *, full: bool, models: int = 2) -> int:
    """Return the memory that merging or comparing takes, the larger of both."""
    merged = merge_memory(shape, FP32_BYTES if full else BF16_BYTES)
    if not parity.check:
        return merged
    free = host_memory().available
    sizes = (parity_memory(shape, width, models) for width in (FP32_BYTES, BF16_BYTES))
    return max(merged, next((size for size in sizes if size < free), 0))  # if none fits, nothing is compared


def merge_memory(shape: Shape, width: int) -> int:
    """Return the bytes that merging takes, from the bytes of the weights on disk."""
    return min(shape.total * width, SHARD_BYTES) + MERGE_BUFFER_BYTES


def parity_memory(shape: Shape, width: int, models: int = 2) -> int:
    """Return the bytes that comparing takes, from the bytes of a weight in memory and the number of models.

    Weights that are held in 16 bits have 32 while they compute, one matrix at a time.
    """
    logits = models * (PARITY_ROWS * TOKENS_PER_ROW + COMPARED_TAIL) * shape.vocab * FP32_BYTES
    matrix = max(shape.vocab * shape.hidden, *(inputs * outputs for inputs, outputs in shape.linears.values()))
    return int(LOADING_FACTOR * shape.total * width) + logits + (FP32_BYTES * matrix if width == BF16_BYTES else 0)


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that are on the disk at the same time, by purpose."""

    parts: Mapping[str, int]

    @classmethod
    def before_merging(cls, context: ExportContext, quantizations: Sequence[str], dtype: Dtype) -> DiskNeed:
        """Estimate from the model's config; nothing if the config does not give the size of the model.

        Args:
            context: of the exporter.
            quantizations: of the files.
            dtype: that weights are merged in.
        """
        try:
            shape = Shape.from_config(context.plan.model.create().config_json())
        except FrameworkError:
            return cls({})
        merged = shape.total * (FP32_BYTES if dtype is Dtype.fp32 else BF16_BYTES)
        in_blocks = shape.hidden % K_QUANT_BLOCK == 0
        return cls({"merged": merged, **_file_sizes(shape.total, merged, quantizations, in_blocks=in_blocks)})

    @classmethod
    def after_merging(cls, merged: Path, parameters: int, size: int, quantizations: Sequence[str]) -> DiskNeed:
        """Estimate from the merged weights: their number and their bytes."""
        config = read_json(merged / MODEL_CONFIG)
        hidden = (config.get("text_config") or config).get("hidden_size", K_QUANT_BLOCK)
        return cls(_file_sizes(parameters, size, quantizations, in_blocks=hidden % K_QUANT_BLOCK == 0))

    def check(self, folder: Path) -> None:
        """Compare with the free space of the disk.

        Raises:
            FrameworkError: less is free.
        """
        free, needed = shutil.disk_usage(folder).free, sum(self.parts.values())
        if needed > free:
            parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.parts.items())
            raise FrameworkError(
                f"the export needs {needed / GIB:.2f} GiB in {display_path(folder)}, and {free / GIB:.2f} GiB are free "
                f"({parts}): "
                "make room, or ask for fewer or smaller quantizations"
            )


def _file_sizes(parameters: int, size: int, quantizations: Sequence[str], *, in_blocks: bool) -> dict[str, int]:
    """Return the sizes of the converted file, as large as the weights, and of the quantized files."""
    files = {name: gguf_bytes(parameters, name, in_blocks=in_blocks) + VOCABULARY_BYTES for name in quantizations}
    return {"converted": size + VOCABULARY_BYTES, **files}


def check_disk_space(folder: Path, needed: int) -> None:
    """Make sure that a folder can be written before it is begun.

    Raises:
        FrameworkError: the disk has less than `needed` bytes free.
    """
    existing_parent = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing_parent).free
    if needed > free:
        raise FrameworkError(
            f"{folder} needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} are free: make room, or give another run_dir"
        )
