"""The quantizations that a GGUF file can have, by the names that people write, and how large they make it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from framework.api.text import nearest

BLOCK = 256
"""Weights of a row that a K-quant packs together: rows of another width get another type."""


class QuantizationType(NamedTuple):
    """llama.cpp's number for a quantization (`llama_ftype`), and its bits for each weight of a large model."""

    number: int
    bits: float
    in_blocks: bool = True
    """Whether it is one of the types that need rows of a multiple of 256 weights."""


QUANTIZATIONS = {
    "f32": QuantizationType(0, 32.0, in_blocks=False),
    "f16": QuantizationType(1, 16.0, in_blocks=False),
    "bf16": QuantizationType(32, 16.0, in_blocks=False),
    "q8_0": QuantizationType(7, 8.5, in_blocks=False),
    "q6_k": QuantizationType(18, 6.6),
    "q5_k_m": QuantizationType(17, 5.7),
    "q5_k_s": QuantizationType(16, 5.6),
    "q5_1": QuantizationType(9, 6.1, in_blocks=False),
    "q5_0": QuantizationType(8, 5.6, in_blocks=False),
    "q4_k_m": QuantizationType(15, 4.9),
    "q4_k_s": QuantizationType(14, 4.7),
    "q4_1": QuantizationType(3, 5.2, in_blocks=False),
    "q4_0": QuantizationType(2, 4.7, in_blocks=False),
    "iq4_nl": QuantizationType(25, 4.7, in_blocks=False),
    "iq4_xs": QuantizationType(30, 4.5),
    "q3_k_l": QuantizationType(13, 4.4),
    "q3_k_m": QuantizationType(12, 4.0),
    "q3_k_s": QuantizationType(11, 3.7),
    "q2_k": QuantizationType(10, 3.2),
}
"""Those that need no importance matrix. Bits are those of Llama 3.1 8B in llama.cpp's own list, rounded up."""


def gguf_bytes(parameters: int, quantization: str, *, in_blocks: bool = True) -> int:
    """Return how large a GGUF file will be, the vocabulary aside.

    Args:
        parameters: of the model.
        quantization: a name of `QUANTIZATIONS`.
        in_blocks: whether all rows are a multiple of 256 weights wide; else K-quants fall back to types with more bits.
    """
    kind = QUANTIZATIONS[quantization]
    bits = kind.bits if in_blocks or not kind.in_blocks else min(kind.bits + 1.5, 8.5)
    return int(parameters * bits / 8)


def known_names(names: Iterable[str]) -> list[str]:
    """Return names as they stand here: people also write Q4_K_M."""
    return [name.lower() for name in names]


def unknown_ones(names: Iterable[str]) -> list[str]:
    """Say of each name that is no quantization what it could have meant."""
    return [_unknown(name) for name in known_names(names) if name not in QUANTIZATIONS]


def _unknown(name: str) -> str:
    """Name the quantizations that begin as it does, two at most: of `q4_k` there are several; else the nearest one."""
    completions = [known for known in QUANTIZATIONS if known.startswith(name.replace("fp", "f"))]
    close = completions[:2] or nearest(name, sorted(QUANTIZATIONS))
    suggestions = " or ".join(f"'{each}'" for each in close)
    hint = f" Did you mean {suggestions}?" if close else ""
    return f"unknown quantization '{name}'.{hint} Valid: {', '.join(sorted(QUANTIZATIONS))}."
