"""Quantizes a GGUF file by `llama_model_quantize`, the function behind llama.cpp's own program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework_plugins.exports.gguf.quantizations import QUANTIZATIONS
from framework_plugins.exports.llama.library import Library, library, why


def quantize(
    source: Path, target: Path, quantization: str, *, threads: int, settings: Mapping[str, int | bool] | None = None
) -> None:
    """Write `source` in another quantization.

    Args:
        source: a GGUF file with 16 or 32 bits a weight.
        target: the file to write; half of it may stay where this fails.
        quantization: a name of `QUANTIZATIONS`; f32, f16 and bf16 only change the number format.
        threads: how many to use.
        settings: metadata that are other in `target`, such as `tokenizer.ggml.eot_token_id`.

    Raises:
        FrameworkError: llama.cpp cannot do it.
    """
    llama = library()
    llama.errors.clear()
    parameters = llama.functions.llama_model_quantize_default_params()
    parameters.nthread = threads
    parameters.ftype = QUANTIZATIONS[quantization].number
    overrides = _overrides(llama, settings or {})  # llama.cpp reads it while it works
    parameters.kv_overrides = overrides
    pointer = llama.types.new("llama_model_quantize_params *", parameters)
    if llama.functions.llama_model_quantize(bytes(source), bytes(target), pointer):
        raise FrameworkError(f"llama.cpp cannot quantize {source.name} to {quantization}{why()}")


def _overrides(llama: Library, settings: Mapping[str, int | bool]) -> Any:
    """Return the array that llama.cpp expects; an empty key ends it."""
    array = llama.types.new("struct llama_model_kv_override[]", len(settings) + 1)
    for entry, (key, value) in zip(array, settings.items(), strict=False):
        entry.key = key.encode()
        if isinstance(value, bool):
            entry.tag, entry.val_bool = llama.functions.LLAMA_KV_OVERRIDE_TYPE_BOOL, value
        else:
            entry.tag, entry.val_i64 = llama.functions.LLAMA_KV_OVERRIDE_TYPE_INT, value
    return array
