"""The number format that merged weights are written in, if the user leaves it open.

Sixteen bits are divided differently: fp16 keeps ten after the point and ends at 65,504, bf16 keeps seven and ends far
beyond. Of an adapter's update bf16 rounds away much, so fp16 is taken if what the model computes stays below half
of its end. What that is depends little on the text (Sun et al., arXiv 2402.17762: the largest activations are nearly
those of every other input), so the check prompts of the parity gate show it. A short training changes weights by less
than even fp16 can tell: it needs 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from framework import Plan
from framework.api import ExportContext
from framework.api.training import ModelSource
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import SAFETENSORS_DTYPES, OutputTensor, plan_merge
from framework_plugins.exports.merge.weight_delta import TensorReader, WeightDelta, merged_chunks
from framework_plugins.exports.parity.gate import Gate
from framework_plugins.exports.parity.reference_logits import stored_dtype
from framework_plugins.lib.weight_files import ADAPTER_CONFIG

MAX_ROUNDING_LOSS = 0.1
"""The largest share of the update that 16 bits may round away. Of the quickstart's fp16 rounds away 5%, bf16 38%; after
five steps at a rate of 1e-4 it is 74% and 97%."""
FP16_MARGIN = 2
"""How many times what was computed has to fit below the end of fp16. SmolLM2 computes up to 24,918."""
SAMPLED_MATRICES = 8
"""Matrices that are measured, spread over all that the adapter changes."""


class NumberFormat(NamedTuple):
    """A number format, why it is that one, and the share of the update that fp16 would round away."""

    dtype: Dtype
    note: str = ""
    rounding_loss: float = 0.0

    @property
    def remedy(self) -> str:
        """What to say where weights in 16 bits fail the gate: that it is not a mistake; empty if it may be one."""
        if self.rounding_loss <= MAX_ROUNDING_LOSS:
            return ""
        loss = _loss_text(self.rounding_loss)
        return f"; {loss}. Train for longer, or export in 32 bits: exporter.merged.dtype=fp32, f32 in GGUF"


def choose_for_folder(context: ExportContext, gate: Gate | None) -> NumberFormat:
    """Choose the format of `exporter=merged`.

    Args:
        context: of the exporter.
        gate: knows what the model computes; None if it is switched off, and the base's own format is kept.
    """
    if not (context.checkpoint / ADAPTER_CONFIG).is_file() or _base_dtype(context) == "float32":
        return NumberFormat(Dtype.auto)
    share = rounding_loss(context.plan, context.checkpoint, Dtype.fp16)
    if share > MAX_ROUNDING_LOSS:
        return NumberFormat(Dtype.fp32, f"in fp32: {_loss_text(share)}", share)
    reference = gate.trained.reference if gate else None
    if reference is None or _base_dtype(context) == "float16":
        return NumberFormat(Dtype.auto, rounding_loss=share)
    if reference.largest * FP16_MARGIN > torch.finfo(torch.float16).max:
        note = f"in bf16: the model computes numbers up to {reference.largest:,.0f}, and fp16 ends at 65,504"
        return NumberFormat(Dtype.auto, note, share)
    return NumberFormat(Dtype.fp16, "in fp16, which keeps more of the update than bf16", share)


def choose_for_gguf(context: ExportContext, *, exact: bool) -> NumberFormat:
    """Choose the format of weights that are only there to be converted; `exact`: a file in 32 bits is asked for."""
    if exact:
        return NumberFormat(Dtype.fp32)
    share = rounding_loss(context.plan, context.checkpoint, Dtype.fp16)
    if share > MAX_ROUNDING_LOSS:
        return NumberFormat(Dtype.fp32, f"made from a merge in fp32: {_loss_text(share)}", share)
    return NumberFormat(Dtype.fp16, rounding_loss=share)


def _base_dtype(context: ExportContext) -> str:
    source: ModelSource = context.plan.model.create()
    return stored_dtype(source.fetch(weights=True).folder)


def _loss_text(share: float) -> str:
    return f"fp16 would round away {share:.0%} of what was trained"


def rounding_loss(plan: Plan, checkpoint: Path, dtype: Dtype) -> float:
    """Return which share of the update is rounded away: ||round(W + U) - (W + U)|| / ||U||, over some matrices.

    The weights of a base lie on the grid of their own format. What an adapter adds is kept as far as it is large
    beside a step of the grid that the sum is rounded to.

    Returns:
        0 if nothing is added: of a model that was trained whole, or an adapter that was not trained.

    Raises:
        FrameworkError: as `merging.merge` does, of the adapter and the files.
    """
    merge_plan, _, adapted = plan_merge(plan, checkpoint)
    changed = [output for output in merge_plan.outputs if output.delta != WeightDelta()] if adapted else []
    error, update, reader = 0.0, 0.0, TensorReader()
    try:
        for output in _sample(changed):
            base = torch.zeros(()) if output.delta.replacement else reader(output.base).float()
            exact, rounded = (
                torch.cat([chunk.float() for chunk in merged_chunks(output.base, output.delta, kind, reader)])
                for kind in (SAFETENSORS_DTYPES[Dtype.fp32], SAFETENSORS_DTYPES[dtype])
            )
            if added := len(exact) - len(base) if base.dim() else 0:  # rows of new tokens are all of them an update
                base = torch.cat([base, base.new_zeros(added, *base.shape[1:])])
            error += float((rounded - exact).double().square().sum())
            update += float((exact - base).double().square().sum())
    finally:
        reader.close()
    return (error / update) ** 0.5 if update else 0.0


def _sample(outputs: Sequence[OutputTensor]) -> list[OutputTensor]:
    count = min(SAMPLED_MATRICES, len(outputs))
    return [outputs[len(outputs) * index // count] for index in range(count)]
