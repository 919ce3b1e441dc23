"""The number format that merged weights are written in, where the user leaves it open.

Sixteen bits are divided differently: fp16 keeps ten behind the point and ends at 65,504, bf16 keeps seven and ends far
beyond. Of an adapter's update bf16 rounds away much, so fp16 is taken wherever what the model computes stays below half
of its end. What that is depends little on the text (Sun et al., arXiv 2402.17762: the largest activations are nearly
those of every other input), so the check prompts of the parity gate show it. A short training changes weights by less
than even fp16 can tell: it needs 32 bits.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from framework.api.protocols import ExportContext, ModelSource
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge import adapter_files
from framework_plugins.exports.merge.rounding import lost
from framework_plugins.exports.parity.gate import Gate
from framework_plugins.exports.parity.reference_logits import on_disk

MOST_LOST = 0.1
"""The largest share of the update that 16 bits may round away. Of the quickstart's fp16 rounds away 5%, bf16 38%; after
five steps at a rate of 1e-4 it is 74% and 97%."""
MARGIN = 2
"""How many times what was computed has to fit below the end of fp16. SmolLM2 computes up to 24,918."""


class Chosen(NamedTuple):
    """A number format, why it is that one, and the share of the update that fp16 would round away."""

    dtype: Dtype
    note: str = ""
    lost: float = 0.0

    @property
    def remedy(self) -> str:
        """What to say where weights in 16 bits fail the gate: that it is no mistake; empty where it may be one."""
        if self.lost <= MOST_LOST:
            return ""
        return f"; {_share(self.lost)}. Train for longer, or export in 32 bits: exporter.merged.dtype=fp32, f32 in GGUF"


def for_folder(context: ExportContext, gate: Gate | None) -> Chosen:
    """Choose the format of `exporter=merged`.

    Args:
        context: of the exporter.
        gate: knows what the model computes; None where it is switched off, and the base's own format is kept.
    """
    if not (context.checkpoint / adapter_files.CONFIG).is_file() or _base(context) == "float32":
        return Chosen(Dtype.auto)
    share = lost(context.plan, context.checkpoint, Dtype.fp16)
    if share > MOST_LOST:
        return Chosen(Dtype.fp32, f"in fp32: {_share(share)}", share)
    reference = gate.reference if gate else None
    if reference is None or _base(context) == "float16":
        return Chosen(Dtype.auto, lost=share)
    if reference.largest * MARGIN > torch.finfo(torch.float16).max:
        note = f"in bf16: the model computes numbers up to {reference.largest:,.0f}, and fp16 ends at 65,504"
        return Chosen(Dtype.auto, note, share)
    return Chosen(Dtype.fp16, "in fp16, which keeps more of the update than bf16", share)


def for_files(context: ExportContext, *, exact: bool) -> Chosen:
    """Choose the format of weights that are only there to be converted; `exact`: a file in 32 bits is asked for."""
    if exact:
        return Chosen(Dtype.fp32)
    share = lost(context.plan, context.checkpoint, Dtype.fp16)
    if share > MOST_LOST:
        return Chosen(Dtype.fp32, f"made from a merge in fp32: {_share(share)}", share)
    return Chosen(Dtype.fp16, lost=share)


def _base(context: ExportContext) -> str:
    source: ModelSource = context.plan.model.create()
    return on_disk(source.fetch(weights=True).folder)


def _share(share: float) -> str:
    return f"fp16 would round away {share:.0%} of what was trained"
