"""The mean negative log-probability of the learned tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray

from framework.api.training import LossConfig, LossValue, TokenGroup, TokenScores


class CrossEntropy:
    """Weights all learned tokens the same."""

    linear = True
    needs_reference = whole_step = False

    def __init__(self, config: LossConfig) -> None:
        del config

    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Read the learned tokens."""
        del group
        return None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Divide by the learned tokens of the whole step."""
        learned = torch.cat([row for rows in scores.policy for row in rows])
        return LossValue(-learned.sum() / scores.tokens)
