"""How much of a training is rounded away where base and adapter are added up in a number format with few bits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from framework.api.plan import Plan
from framework_plugins.exports.config import Dtype
from framework_plugins.exports.merge.merging import TYPES, Output, outline
from framework_plugins.exports.merge.weight_delta import Change, Reader, pieces

SAMPLED = 8
"""Matrices that are measured, spread over all that the adapter changes."""


def lost(plan: Plan, checkpoint: Path, dtype: Dtype) -> float:
    """Return which share of the update is rounded away: ||round(W + U) - (W + U)|| / ||U||, over some matrices.

    The weights of a base lie on the grid of their own format. What an adapter adds is kept as far as it is large
    beside a step of the grid that the sum is rounded to.

    Returns:
        0 where nothing is added: of a model that was trained whole, or an adapter that was not trained.

    Raises:
        FrameworkError: as `merging.merge` does, of the adapter and the files.
    """
    contents, _, adapted = outline(plan, checkpoint)
    changed = [output for output in contents.outputs if output.change != Change()] if adapted else []
    error, update, reader = 0.0, 0.0, Reader()
    try:
        for output in _spread(changed):
            base = torch.zeros(()) if output.change.whole else reader(output.base).float()
            exact, rounded = (
                torch.cat([piece.float() for piece in pieces(output.base, output.change, kind, reader)])
                for kind in (TYPES[Dtype.fp32], TYPES[dtype])
            )
            error += float((rounded - exact).double().square().sum())
            update += float((exact - base).double().square().sum())
    finally:
        reader.close()
    return (error / update) ** 0.5 if update else 0.0


def _spread(outputs: Sequence[Output]) -> list[Output]:
    count = min(SAMPLED, len(outputs))
    return [outputs[len(outputs) * number // count] for number in range(count)]
