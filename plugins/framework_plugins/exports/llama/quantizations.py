"""The quantizations that a GGUF file can have, by the names that people write; their sizes; and quantizing a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from framework import FrameworkError
from framework.api import nearest
from framework_plugins.exports.llama.library import Library, first_error, library

K_QUANT_BLOCK = 256
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


def lower_names(names: Iterable[str]) -> list[str]:
    """Return names as `QUANTIZATIONS` has them: people also write Q4_K_M."""
    return [name.lower() for name in names]


def unknown_names(names: Iterable[str]) -> list[str]:
    """Return the error text of each name that is not a quantization, with the nearest ones."""
    return [_unknown_text(name) for name in lower_names(names) if name not in QUANTIZATIONS]


NOT_MADE = {
    re.compile(r"iq[123]_.*|iq1|iq2|iq3|q2_k_s"): "needs an importance matrix (imatrix), which is not measured here",
    re.compile(r"mxfp4.*|nvfp4.*|fp8.*|q8_k|tq[12]_0"): "is for models that were trained in it",
}
"""Quantizations of llama.cpp that are left out, with the reason."""


def _unknown_text(name: str) -> str:
    """Return the error text, with up to two quantizations that begin with the name, else the nearest one."""
    if reason := next((reason for pattern, reason in NOT_MADE.items() if pattern.fullmatch(name)), ""):
        return (
            f"quantization '{name}' {reason}: make it with llama.cpp's llama-quantize from an f16 or bf16 file. "
            f"Valid: {', '.join(sorted(QUANTIZATIONS))}."
        )
    completions = [quantization for quantization in QUANTIZATIONS if quantization.startswith(name.replace("fp", "f"))]
    close = completions[:2] or nearest(name, sorted(QUANTIZATIONS))
    suggestions = " or ".join(f"'{quantization}'" for quantization in close)
    hint = f" Did you mean {suggestions}?" if close else ""
    return f"unknown quantization '{name}'.{hint} Valid: {', '.join(sorted(QUANTIZATIONS))}."


def quantize(
    source: Path, target: Path, quantization: str, *, threads: int, settings: Mapping[str, int | bool] | None = None
) -> None:
    """Write `source` in another quantization.

    Args:
        source: a GGUF file with 16 or 32 bits a weight.
        target: the file to write; half of it may stay where this fails.
        quantization: a name of `QUANTIZATIONS`; f32, f16 and bf16 only change the number format.
        threads: how many to use.
        settings: metadata that differ in `target`, such as `tokenizer.ggml.eot_token_id`.

    Raises:
        FrameworkError: llama.cpp cannot do it.
    """
    llama = library()
    llama.errors.clear()
    parameters = llama.functions.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = QUANTIZATIONS[quantization].number
    overrides = _override_array(llama, settings or {})  # llama.cpp reads it while it works
    parameters.kv_overrides = overrides
    pointer = llama.types.new("llama_model_quantize_params *", parameters)
    if llama.functions.llama_model_quantize(bytes(source), bytes(target), pointer):
        raise FrameworkError(f"llama.cpp cannot quantize {source.name} to {quantization}{first_error()}")


def _override_array(llama: Library, settings: Mapping[str, int | bool]) -> Any:
    """Return the array that llama.cpp expects; an empty key ends it."""
    array = llama.types.new("struct llama_model_kv_override[]", len(settings) + 1)
    for entry, (key, value) in zip(array, settings.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, bool):
            entry.tag, entry.val_bool = llama.functions.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        else:
            entry.tag, entry.val_i64 = llama.functions.LLAMA_KV_OVERRIDE_TYPE_INT, value
    return array
