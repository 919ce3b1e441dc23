"""Quantizes a GGUF file; runs in a process of its own (`apart`), so that an assertion of llama.cpp costs no run."""

from __future__ import annotations

from pathlib import Path

from framework_plugins.exports.llama.quantize import quantize


def write(source: str, target: str, quantization: str, threads: int, settings: dict[str, int | bool]) -> None:
    """Write `source` in another quantization; see `llama.quantize.quantize`."""
    quantize(Path(source), Path(target), quantization, threads=threads, settings=settings)
