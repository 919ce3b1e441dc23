"""An adapter's change of one weight, and the resulting weight, piece by piece in fp32 and rounded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from framework.api.errors import FrameworkError
from framework_plugins.exports.merge.headers import FLOATS, Stored, damaged
from framework_plugins.exports.merge.shards import TORCH

PIECE = 2**22
"""Elements of a piece: 16 MiB in fp32."""


@dataclass(frozen=True)
class LowRank:
    """LoRA on a weight: `scaling` times `up` times `down` is added to it; with a `magnitude` it is DoRA.

    Attributes:
        down: (rank, inputs).
        up: (outputs, rank).
        scaling: lora_alpha / r, or lora_alpha / sqrt(r).
        magnitude: (outputs); the length that each output's weights are brought to.
        transposed: whether the weight is stored (inputs, outputs), else (outputs, inputs).
    """

    down: Stored
    up: Stored
    scaling: float
    magnitude: Stored | None
    transposed: bool


@dataclass(frozen=True)
class Change:
    """All that happens to a weight, in this order.

    Attributes:
        whole: replaces it.
        low_rank: is added.
        rows: replace the rows `indices`: tokens that were trained individually.
        indices: of the rows.
    """

    whole: Stored | None = None
    low_rank: LowRank | None = None
    rows: Stored | None = None
    indices: tuple[int, ...] = ()


class Reader:
    """Reads tensors of files; the last file stays open, one at a time."""

    def __init__(self) -> None:
        self._file: Path | None = None
        self._opened: Any = None
        self._context = ExitStack()

    def __call__(self, tensor: Stored) -> torch.Tensor:
        """Return a tensor.

        Raises:
            FrameworkError: the file is damaged.
        """
        try:
            if tensor.file != self._file:
                self.close()
                self._opened = self._context.enter_context(safe_open(tensor.file, framework="pt"))
                self._file = tensor.file
            read: torch.Tensor = self._opened.get_tensor(tensor.name)
        except (SafetensorError, OSError) as error:
            raise damaged(tensor.file, error) from error
        return read

    def close(self) -> None:
        """Let go of the open file."""
        self._context.close()
        self._file = self._opened = None


@dataclass(frozen=True)
class Merging:
    """The low-rank part of a change, ready for pieces of the weight as it is stored: rows x rank and rank x columns."""

    left: torch.Tensor
    right: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None
    by_column: bool

    @classmethod
    def of(cls, change: LowRank, read: Callable[[Stored], torch.Tensor]) -> Merging:
        down, up = read(change.down).float(), read(change.up).float()
        left, right = (down.T, up.T) if change.transposed else (up, down)
        magnitude = read(change.magnitude).float() if change.magnitude else None
        return cls(left, right, change.scaling, magnitude, change.transposed)

    def added(self, piece: torch.Tensor, start: int) -> torch.Tensor:
        """Return rows of the weight from `start` on with the product added, before DoRA's lengths."""
        product = self.left[start : start + len(piece)] @ self.right
        return product.mul_(self.scaling).add_(piece)  # in place: a piece is large

    def by_columns(self, weight: torch.Tensor) -> torch.Tensor | None:
        """Return what DoRA multiplies each column with, where its outputs are columns: their lengths need all rows."""
        if self.magnitude is None or not self.by_column:
            return None
        squares = torch.zeros(weight.shape[1], dtype=torch.float64)
        for start, piece in _pieces(weight):
            squares += self.added(piece, start).double().square().sum(dim=0)
        factors: torch.Tensor = self.magnitude / squares.sqrt().float()
        return factors

    def factors(self, added: torch.Tensor, start: int) -> torch.Tensor | None:
        """Return what DoRA multiplies each row with, where its outputs are rows."""
        if self.magnitude is None or self.by_column:
            return None
        lengths = torch.linalg.norm(added, dim=1)
        factors: torch.Tensor = self.magnitude[start : start + len(added)] / lengths
        return factors.unsqueeze(1)


def pieces(
    base: Stored | None, change: Change, dtype: str, read: Callable[[Stored], torch.Tensor]
) -> Iterator[torch.Tensor]:
    """Give a weight as it is after a change, piece after piece along its first dimension.

    Args:
        base: the weight before; None where all of it is replaced.
        change: what happens to it.
        dtype: the type that it is rounded to, once.
        read: reads a tensor.

    Raises:
        FrameworkError: the weight is quantized, or a number of the result is not finite.
    """
    source = change.whole or base
    assert source is not None  # noqa: S101 - what is planned has a source
    if dtype not in FLOATS and change != Change():
        raise FrameworkError(
            f"{source.file}: {source.name} is stored as {dtype}: an adapter can be merged only into 16 or 32 bits"
        )
    weight = read(source)
    low_rank = Merging.of(change.low_rank, read) if change.low_rank else None
    columns = low_rank.by_columns(weight) if low_rank else None
    rows = dict(zip(change.indices, read(change.rows), strict=True)) if change.rows else {}
    for start, piece in _pieces(weight):
        changed = piece
        if low_rank:
            changed = low_rank.added(piece, start)
            factors = low_rank.factors(changed, start) if columns is None else columns
            changed = changed if factors is None else changed.mul_(factors)
        for index in rows.keys() & range(start, start + len(piece)):
            changed = changed.clone() if changed is piece else changed
            changed[index - start] = rows[index].to(changed.dtype)
        yield changed if changed is piece and changed.dtype == TORCH[dtype] else _rounded(changed, dtype, source)


def _pieces(weight: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
    if weight.dim() == 0:
        weight = weight.reshape(1)
    step = max(1, PIECE // max(1, weight[:1].numel()))
    for start in range(0, len(weight), step):
        yield start, weight[start : start + step]


def _rounded(piece: torch.Tensor, dtype: str, source: Stored) -> torch.Tensor:
    rounded = piece.to(TORCH[dtype])
    if dtype in FLOATS and not torch.isfinite(rounded).all():
        hint = "its numbers are too large for fp16, choose bf16" if torch.isfinite(piece).all() else "it is damaged"
        raise FrameworkError(f"{source.file}: {source.name} would hold numbers that are not finite: {hint}")
    return rounded
