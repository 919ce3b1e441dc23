"""An adapter's change of one weight, and the resulting weight, chunk by chunk in fp32 and rounded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from framework import FrameworkError
from framework_plugins.exports.merge.safetensors_io import TORCH_DTYPES
from framework_plugins.lib.weight_files import FLOAT_DTYPES, StoredTensor, damaged_file

CHUNK_ELEMENTS = 2**22
"""16 MiB in fp32."""


@dataclass(frozen=True)
class LowRank:
    """LoRA on a weight: `scaling` times `lora_b` times `lora_a` is added to it; with a `magnitude` it is DoRA.

    Attributes:
        lora_a: (rank, inputs).
        lora_b: (outputs, rank).
        scaling: lora_alpha / r, or lora_alpha / sqrt(r).
        magnitude: (outputs); the length that each output's weights are brought to.
        transposed: whether the weight is stored (inputs, outputs), else (outputs, inputs).
        experts: how many matrices the weight holds, (experts, outputs, inputs); 0: it is one matrix. Then `lora_a` is
            (experts x rank, inputs) and `lora_b` (outputs, rank x experts).
        expert: the one of them that the file has as a tensor of its own; None: it has all in one.
        first_row: where the rows of that tensor begin in the matrix of the expert.
    """

    lora_a: StoredTensor
    lora_b: StoredTensor
    scaling: float
    magnitude: StoredTensor | None
    transposed: bool
    experts: int = 0
    expert: int | None = None
    first_row: int = 0


@dataclass(frozen=True)
class WeightDelta:
    """All that happens to a weight, in this order.

    Attributes:
        replacement: replaces it.
        low_rank: is added.
        rows: replace the rows `indices`: tokens that were trained individually.
        indices: of the rows.
    """

    replacement: StoredTensor | None = None
    low_rank: LowRank | None = None
    rows: StoredTensor | None = None
    indices: tuple[int, ...] = ()


class TensorReader:
    """Reads tensors of files; the last file stays open, one at a time."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._opened: Any = None
        self._context = ExitStack()

    def __call__(self, tensor: StoredTensor) -> torch.Tensor:
        """Return a tensor.

        Raises:
            FrameworkError: the file is damaged.
        """
        if tensor.parts:
            unpacked: torch.Tensor = convert_moe_packed_tensors(*map(self, tensor.parts))
            return unpacked
        try:
            if tensor.file != self._file:
                self.close()
                self._opened = self._context.enter_context(safe_open(tensor.file, framework="pt"))
                self._file = tensor.file
            read: torch.Tensor = self._opened.get_tensor(tensor.name)
        except (SafetensorError, OSError) as error:
            raise damaged_file(tensor.file, error) from error
        return read

    def close(self) -> None:
        """Let go of the open file."""
        self._context.close()
        self._file = self._opened = None


@dataclass(frozen=True)
class LoadedLowRank:
    """The low-rank part of a change, ready for chunks of the weight as it is stored: rows x rank and rank x columns.

    Both have one such matrix for each expert if the weight has them.
    """

    left: torch.Tensor
    right: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None
    outputs_are_columns: bool

    @classmethod
    def load(cls, low_rank: LowRank, read: Callable[[StoredTensor], torch.Tensor]) -> LoadedLowRank:
        lora_a, lora_b = read(low_rank.lora_a).float(), read(low_rank.lora_b).float()
        if low_rank.experts:  # the layout of peft's ParamWrapper
            lora_a = lora_a.reshape(low_rank.experts, -1, lora_a.shape[-1])
            lora_b = lora_b.reshape(len(lora_b), -1, low_rank.experts).permute(2, 0, 1)
        left, right = (lora_a.mT, lora_b.mT) if low_rank.transposed else (lora_b, lora_a)
        if low_rank.expert is not None:
            left, right = left[low_rank.expert, low_rank.first_row :], right[low_rank.expert]
        magnitude = read(low_rank.magnitude).float() if low_rank.magnitude else None
        return cls(left, right, low_rank.scaling, magnitude, low_rank.transposed)

    def add_to(self, chunk: torch.Tensor, start: int) -> torch.Tensor:
        """Return rows of the weight from `start` on with the product added, before DoRA's lengths."""
        chosen = slice(start, start + len(chunk))
        product = self.left[chosen] @ (self.right if self.right.dim() == 2 else self.right[chosen])  # noqa: PLR2004
        return product.mul_(self.scaling).add_(chunk)  # in place: a chunk is large

    def column_factors(self, weight: torch.Tensor) -> torch.Tensor | None:
        """Return what DoRA multiplies each column with, if its outputs are columns: their lengths need all rows."""
        if self.magnitude is None or not self.outputs_are_columns:
            return None
        squares = torch.zeros(weight.shape[1], dtype=torch.float64)
        for start, chunk in _chunks(weight):
            squares += self.add_to(chunk, start).double().square().sum(dim=0)
        factors: torch.Tensor = self.magnitude / squares.sqrt().float()
        return factors

    def row_factors(self, added: torch.Tensor, start: int) -> torch.Tensor | None:
        """Return what DoRA multiplies each row with, if its outputs are rows."""
        if self.magnitude is None or self.outputs_are_columns:
            return None
        lengths = torch.linalg.norm(added, dim=1)
        factors: torch.Tensor = self.magnitude[start : start + len(added)] / lengths
        return factors.unsqueeze(1)


def merged_chunks(
    base: StoredTensor | None, delta: WeightDelta, dtype: str, read: Callable[[StoredTensor], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Give a weight as it is after a change, chunk after chunk along its first dimension.

    Args:
        base: the weight before; None if all of it is replaced.
        delta: what happens to it.
        dtype: the type that it is rounded to, once.
        read: reads a tensor.

    Raises:
        FrameworkError: the weight is quantized, or a number of the result is not finite.
    """
    source = delta.replacement or base
    assert source is not None  # noqa: S101 - what is planned has a source
    if dtype not in FLOAT_DTYPES and delta != WeightDelta():
        raise FrameworkError(
            f"{source.file}: {source.name} is stored as {dtype}: an adapter can be merged only into 16 or 32 bits"
        )
    weight = read(source)
    low_rank = LoadedLowRank.load(delta.low_rank, read) if delta.low_rank else None
    columns = low_rank.column_factors(weight) if low_rank else None
    rows = dict(zip(delta.indices, read(delta.rows), strict=True)) if delta.rows else {}
    for start, chunk in _chunks(weight):
        changed = chunk
        if low_rank:
            changed = low_rank.add_to(chunk, start)
            factors = low_rank.row_factors(changed, start) if columns is None else columns
            changed = changed if factors is None else changed.mul_(factors)
        for index in rows.keys() & range(start, start + len(chunk)):
            changed = changed.clone() if changed is chunk else changed
            changed[index - start] = rows[index].to(changed.dtype)
        yield changed if changed is chunk and changed.dtype == TORCH_DTYPES[dtype] else _rounded(changed, dtype, source)
    if added := sorted(index for index in rows if index >= len(weight)):
        yield _rounded(torch.stack([rows[index] for index in added]), dtype, source)


def _chunks(weight: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    if weight.dim() == 0:
        weight = weight.reshape(1)
    step = max(1, CHUNK_ELEMENTS // max(1, weight[:1].numel()))
    for start in range(0, len(weight), step):
        yield start, weight[start : start + step]


def _rounded(chunk: torch.Tensor, dtype: str, source: StoredTensor) -> torch.Tensor:
    rounded = chunk.to(TORCH_DTYPES[dtype])
    if dtype in FLOAT_DTYPES and not torch.isfinite(rounded).all():
        hint = "its numbers are too large for fp16, choose bf16" if torch.isfinite(chunk).all() else "it is damaged"
        raise FrameworkError(f"{source.file}: {source.name} would hold numbers that are not finite: {hint}")
    return rounded
