"""Whether the disk has room for an export, asked before it starts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from framework.api.backend import Shape
from framework.api.errors import FrameworkError
from framework.api.machine import GIB
from framework.api.protocols import ExportContext
from framework.api.text import display_path
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.documents import MODEL, read
from framework_plugins.exports.gguf.convert.weights import Weights
from framework_plugins.exports.gguf.quantizations import BLOCK, gguf_bytes

HALF = 2
"""Bytes of a merged weight, 16 bits."""
SPARE = 2**24
"""Bytes of a file for its vocabulary."""


@dataclass(frozen=True)
class Room:
    """Bytes that will be on the disk at the same time, by what they are for."""

    parts: Mapping[str, int]

    @classmethod
    def before_merging(cls, context: ExportContext, quantizations: Sequence[str], dtype: Dtype) -> Room:
        """Work it out from the model's config; nothing, where that does not tell how large the model is.

        Args:
            context: of the exporter.
            quantizations: of the files.
            dtype: that weights are merged in.
        """
        try:
            shape = Shape.from_config(context.plan.model.create().config_json())
        except FrameworkError:
            return cls({})
        merged = shape.total * (2 * HALF if dtype is Dtype.fp32 else HALF)
        in_blocks = shape.hidden % BLOCK == 0
        return cls({"merged": merged, **_files(shape.total, merged, quantizations, in_blocks=in_blocks)})

    @classmethod
    def after_merging(cls, merged: Path, weights: Weights, quantizations: Sequence[str]) -> Room:
        """Work it out from the merged weights."""
        config = read(merged / MODEL)
        hidden = (config.get("text_config") or config).get("hidden_size", BLOCK)
        return cls(_files(weights.parameters, weights.bytes, quantizations, in_blocks=hidden % BLOCK == 0))

    def check(self, folder: Path) -> None:
        """Compare with what is free.

        Raises:
            FrameworkError: that is less.
        """
        free, needed = shutil.disk_usage(folder).free, sum(self.parts.values())
        if needed > free:
            parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in self.parts.items())
            raise FrameworkError(
                f"the export needs {needed / GIB:.2f} GiB in {display_path(folder)}, and {free / GIB:.2f} GiB are free "
                f"({parts}): "
                "make room, or ask for fewer or smaller quantizations"
            )


def _files(parameters: int, size: int, quantizations: Sequence[str], *, in_blocks: bool) -> dict[str, int]:
    """Return the sizes of the file without loss, which has as many bytes as the weights, and of those made of it."""
    files = {name: gguf_bytes(parameters, name, in_blocks=in_blocks) + SPARE for name in quantizations}
    return {"converted": size + SPARE, **files}
