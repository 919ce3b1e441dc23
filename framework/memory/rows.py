"""Predictions for a table of measured runs, one a row: `python -m framework plan-table --rows FILE.csv`.

The columns are those of the table that the arithmetic was checked on; docs/explanation/memory.md lists them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from framework.errors import FrameworkError, unknown
from framework.memory.peak import GIB, Estimate, estimate
from framework.memory.settings import Attention, Loss, Settings, Weights
from framework.memory.shape import LINEARS, Shape

PREDICTED = ("predicted_allocated_gib", "predicted_reserved_gib", "band_low_gib", "band_high_gib")
SHAPE = ("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocab", "tie_embeddings")
NEEDED = (*SHAPE, "method", "seq_len", "micro_batch")
METHODS = ("full", "lora", "qlora")
PRECISIONS = {
    "bf16": (Weights.half, False),
    "fp16": (Weights.half, False),
    "fp32": (Weights.fp32, False),
    "bf16_amp_fp32_weights": (Weights.fp32, True),
    "fp16_amp_fp32_weights": (Weights.fp32, True),
}
"""How the weights are stored that no quantization stores, and whether products are computed in 16 bits all the same."""
ATTENTIONS = {
    "eager": Attention.eager,
    "sdpa": Attention.sdpa,
    "sdpa_mem_efficient": Attention.sdpa,
    "sdpa_flash": Attention.flash,
    "sdpa_flex": Attention.flash,
    "flex": Attention.flash,
    "flash2": Attention.flash,
    "flash_attention_2": Attention.flash,
}
LETTERS = {"q": "q", "k": "k", "v": "v", "o": "o", "g": "gate", "u": "up", "d": "down"}
STATES = 8.0
T = TypeVar("T")
NO = frozenset({"", "0", "false", "no", "none"})


def predict_file(file: Path) -> str:
    """Return the table in `file` with the predictions in four more columns, as CSV.

    Raises:
        FrameworkError: it cannot be read, or a row cannot be predicted; the message names the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{file}: cannot be read ({error.strerror if isinstance(error, OSError) else 'it is no UTF-8'})"
        raise FrameworkError(message) from error
    reader = csv.DictReader(io.StringIO(text), restval="")
    columns = list(reader.fieldnames or [])
    if missing := [name for name in NEEDED if name not in columns]:
        message = f"{file}: line 1: there is no column {', '.join(missing)}; see docs/explanation/memory.md"
        raise FrameworkError(message)
    out = io.StringIO()
    writer = csv.DictWriter(
        out, [*(name for name in columns if name not in PREDICTED), *PREDICTED], extrasaction="ignore"
    )
    writer.writeheader()
    for row in _each(reader, file):
        try:
            made = predict(row)
        except FrameworkError as error:
            message = f"{file}: line {reader.line_num}: {error}"
            raise FrameworkError(message) from error
        sizes = (made.allocated, made.reserved, made.low, made.high)
        writer.writerow(row | {name: f"{size / GIB:.4f}" for name, size in zip(PREDICTED, sizes, strict=True)})
    return out.getvalue()


def _each(reader: csv.DictReader[str], file: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        message = f"{file}: line {reader.line_num}: {error}"
        raise FrameworkError(message) from error


def predict(row: Mapping[str, str]) -> Estimate:
    """Return the estimate for one row.

    Raises:
        FrameworkError: a column holds what is not known.
    """
    return estimate(shape_of(row), settings_of(row))


def shape_of(row: Mapping[str, str]) -> Shape:
    """Return the model of a row."""
    numbers = {name: _number(row, name) for name in SHAPE[:-1]}
    return Shape(
        **numbers,  # type: ignore[arg-type] # the names are those of numbers
        tied=_yes(row, "tie_embeddings"),
        gated=_yes(row, "gated_mlp", default=True),
        parameters=_number(row, "params", 0),
    )


def settings_of(row: Mapping[str, str]) -> Settings:
    """Return the training of a row."""
    method = _one_of(row, "method", {name: name for name in METHODS}, "")
    weights, autocast = _one_of(row, "precision", PRECISIONS, "bf16")
    optimizer = row.get("optimizer", "").strip()
    shape = shape_of(row)
    return Settings(
        rows=_number(row, "micro_batch"),
        length=_number(row, "seq_len"),
        rank=0 if method == "full" else _rank(row),
        targets=targets_of(row.get("lora_targets", "").strip()),
        trained=_trained(row, shape) if method != "full" else 0,
        weights=_quantized(row) if method == "qlora" else weights,
        double_quant=_yes(row, "double_quant", default=True),
        upcast=method == "qlora" and _yes(row, "kbit_fp32_upcast", default=False),
        autocast=autocast,
        state_bytes=_states(optimizer),
        copies="fused" not in optimizer and "8bit" not in optimizer,
        attention=_one_of(row, "attention", ATTENTIONS, "sdpa"),
        # Unsloth's offloading moves the states between layers to the CPU; what is left is a layer, as here.
        checkpointing=(row.get("grad_ckpt", "").strip().lower() or "1") not in NO,
        loss=Loss.plain if row.get("loss_impl", "plain").strip() in {"", "plain"} else Loss.chunked,
        varied="varlen" in row.get("notes", ""),
    )


def targets_of(text: str) -> tuple[str, ...]:
    """Return the adapted layers: `all`, letters as in `qkvo`, with `+mlp`; `c_attn` is one layer for q, k and v."""
    if text in {"", "all", "all-linear"}:
        return LINEARS
    if text == "c_attn":
        return ("q", "k", "v")
    letters, _, more = text.partition("+")
    if more not in {"", "mlp"} or any(letter not in LETTERS for letter in letters):
        message = f"lora_targets={text}: letters of {''.join(LETTERS)}, with +mlp after them, all or c_attn"
        raise FrameworkError(message)
    return tuple(LETTERS[letter] for letter in letters) + (LINEARS[4:] if more else ())


def _rank(row: Mapping[str, str]) -> int:
    return _number(row, "lora_rank") if row.get("lora_rank", "").strip() else 16


def _trained(row: Mapping[str, str], shape: Shape) -> int:
    known = _number(row, "trainable_params", 0)
    if known or row.get("lora_targets", "").strip() != "c_attn":
        return known
    return shape.layers * _rank(row) * (shape.hidden + shape.q + 2 * shape.kv)


def _quantized(row: Mapping[str, str]) -> Weights:
    named = {"": Weights.nf4, "nf4": Weights.nf4, "fp4": Weights.nf4, "int8": Weights.int8, "8bit": Weights.int8}
    return _one_of(row, "quant", named, "")


def _states(optimizer: str) -> float:
    """Return the bytes of the states a parameter: paged ones lie in memory that torch does not count."""
    if "paged" in optimizer:
        return 0.0
    if "8bit" in optimizer:
        return 2.0
    return 0.0 if optimizer.startswith("sgd") else STATES


def _one_of(row: Mapping[str, str], column: str, known: Mapping[str, T], default: str) -> T:
    value = row.get(column, "").strip() or default
    if value not in known:
        message = f"{column}={value}: {unknown('value', value, known)}"
        raise FrameworkError(message)
    return known[value]


def _yes(row: Mapping[str, str], column: str, *, default: bool = False) -> bool:
    value = row.get(column, "").strip().lower()
    return default if not value else value not in NO


def _number(row: Mapping[str, str], column: str, default: int | None = None) -> int:
    text = row.get(column, "").strip()
    if not text and default is not None:
        return default
    try:
        number = int(float(text))
    except (ValueError, OverflowError):
        number = -1
    if number < (1 if default is None else 0):
        message = f"{column}={text}: a number above 0 is needed"
        raise FrameworkError(message)
    return number
