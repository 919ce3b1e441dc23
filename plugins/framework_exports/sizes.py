"""How much an export writes, told before a weight is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from framework.memory import Shape
from framework_exports.config import Dtype

WIDTHS = {Dtype.bf16: 2, Dtype.fp16: 2, Dtype.fp32: 4}
"""Bytes of a weight."""
SAID = {"bfloat16": 2, "float16": 2, "float32": 4}
"""The same, by the names in config.json."""


def merged_bytes(config: Mapping[str, Any], dtype: Dtype = Dtype.auto, *, full: bool = False) -> int:
    """Return the bytes of the weights that `exporter=merged` writes.

    Args:
        config: of the base, its config.json.
        dtype: of the export; auto: an adapter takes the base's, and all weights are trained in fp32.
        full: whether all weights are trained.

    Raises:
        FrameworkError: the config does not tell how large the model is.
    """
    said = str(config.get("dtype") or config.get("torch_dtype") or "")
    on_disk = WIDTHS[Dtype.fp32] if full else SAID.get(said, WIDTHS[Dtype.bf16])
    return Shape.from_config(config).total * WIDTHS.get(dtype, on_disk)
