"""The plan's memory for each row of a table of measured runs, with its columns and four more on standard output.

    .venv/bin/python -m benchmarks.memory_rows FILE.csv >OUT.csv

The columns are those of the table that the arithmetic was checked on, `tests/framework/memory/peaks.csv`; README.md
lists them. A row that cannot be predicted has the new columns empty; its line and the reason go to standard error.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common import command_line
from framework.memory.peak import Estimate, estimate
from framework.memory.settings import Attention, Loss, MemorySettings, Weights
from framework.memory.shape import LINEARS, Shape
from framework.util.host import GIB

PREDICTED = ("predicted_allocated_gib", "predicted_reserved_gib", "band_low_gib", "band_high_gib")
SHAPE = ("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocab", "tie_embeddings")
ATTENTIONS = {
    "eager": Attention.eager,
    "math": Attention.math,
    "flash": Attention.flash,
    "flex": Attention.flash,
    "xformers": Attention.flash,
}
"""The kernels, by a word in the name that a table has for them; all others are torch's."""
LETTERS = {"q": "q", "k": "k", "v": "v", "o": "o", "g": "gate", "u": "up", "d": "down"}
STATES = 8.0
NO = frozenset({"", "0", "false", "no", "none"})


def predict(row: Mapping[str, str]) -> Estimate:
    """Return the estimate for one row.

    Raises:
        ValueError: a column holds what is not known.
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


def settings_of(row: Mapping[str, str]) -> MemorySettings:
    """Return the training of a row."""
    method = row["method"].strip()
    if method not in {"full", "lora", "qlora"}:
        raise ValueError(f"method={method}: full, lora or qlora is needed")
    weights, autocast = _precision(_text(row, "precision"))
    saved = _text(row, "grad_ckpt") or "1"
    optimizer = row.get("optimizer", "").strip()
    shape = shape_of(row)
    return MemorySettings(
        rows=_number(row, "micro_batch"),
        length=_number(row, "seq_len"),
        rank=0 if method == "full" else _rank(row),
        targets=targets_of(row.get("lora_targets", "").strip()),
        trained=_trained(row, shape) if method != "full" else 0,
        trained_width=2 if "16" in _text(row, "adapter_precision") else 4,
        weights=_quantized(row) if method == "qlora" else weights,
        double_quant=_yes(row, "double_quant", default=True),
        upcast=method == "qlora" and _yes(row, "kbit_fp32_upcast", default=False),
        autocast=autocast,
        state_bytes=_states(optimizer),
        copies="fused" not in optimizer and "8bit" not in optimizer,
        attention=_attention(row, shape, wide=weights is Weights.fp32 and not autocast),
        checkpointing=saved not in NO,
        offloaded="offload" in saved,
        # Unsloth's own kernels compute the loss in chunks, whatever a table calls it.
        loss=Loss.plain if _text(row, "loss_impl") in {"", "plain"} and "unsloth" not in saved else Loss.chunked,
        varied="varlen" in row.get("notes", ""),
    )


def _attention(row: Mapping[str, str], shape: Shape, *, wide: bool) -> Attention:
    """Return the kernel; torch's own choice for heads that share fp32 keys is its math kernel."""
    text = _text(row, "attention")
    raised = row["method"].strip() == "qlora" and _yes(row, "kbit_fp32_upcast")
    if text == "sdpa" and shape.kv_heads < shape.heads and (wide or raised):
        return Attention.math
    return next((kind for word, kind in ATTENTIONS.items() if word in text), Attention.sdpa)


def targets_of(text: str) -> tuple[str, ...]:
    """Return the adapted layers: letters as in `qkvo`, with `+mlp`; `c_attn` is one layer for q, k and v; else all."""
    if text == "c_attn":
        return ("q", "k", "v")
    letters, _, more = text.partition("+")
    if not text or more not in {"", "mlp"} or any(letter not in LETTERS for letter in letters):
        return LINEARS
    return tuple(LETTERS[letter] for letter in letters) + (LINEARS[4:] if more else ())


def _rank(row: Mapping[str, str]) -> int:
    return _number(row, "lora_rank") if row.get("lora_rank", "").strip() else 16


def _trained(row: Mapping[str, str], shape: Shape) -> int:
    known = _number(row, "trainable_params", 0)
    if known or row.get("lora_targets", "").strip() != "c_attn":
        return known
    return shape.layers * _rank(row) * (shape.hidden + shape.q + 2 * shape.kv)


def _quantized(row: Mapping[str, str]) -> Weights:
    return Weights.int8 if "8" in _text(row, "quant") else Weights.nf4


def _precision(text: str) -> tuple[Weights, bool]:
    """Return how weights are stored that no quantization stores, and whether products are in 16 bits all the same."""
    wide = "amp" in text or "32" in text
    return (Weights.fp32 if wide else Weights.half), "amp" in text or ("32" in text and "16" in text)


def _text(row: Mapping[str, str], column: str) -> str:
    return row.get(column, "").strip().lower()


def _states(optimizer: str) -> float:
    """Return the bytes of the states a parameter: paged ones lie in memory that torch does not count."""
    if "paged" in optimizer:
        return 0.0
    if "8bit" in optimizer:
        return 2.0
    return 0.0 if optimizer.startswith("sgd") else STATES


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
        raise ValueError(f"{column}={text}: a number above 0 is needed")
    return number


def main() -> None:
    """Print the table with the predictions."""
    parser = command_line(__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args().file
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, restval="")
        writer = csv.DictWriter(sys.stdout, [*(reader.fieldnames or []), *PREDICTED], extrasaction="ignore")
        writer.writeheader()
        for row in reader:
            try:
                made = predict(row)
            except ValueError as error:
                sys.stderr.write(f"{file}: line {reader.line_num}: left empty: {error}\n")
            else:
                sizes = (made.allocated, made.reserved, made.low, made.high)
                row |= {name: f"{size / GIB:.4f}" for name, size in zip(PREDICTED, sizes, strict=True)}
            writer.writerow(row)


if __name__ == "__main__":
    main()
