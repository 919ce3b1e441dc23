"""What a run has measured, for those who say what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from framework.records import EvalResult, TrainResult


@dataclass(frozen=True)
class Results:
    """What a run has measured.

    Attributes:
        before: the base; None where it was not asked, or other things than afterwards.
        after: the tuned model.
        nulls: random adapters of the same shape and size; empty where none was asked.
        trained: the training; None where this folder holds none.
    """

    before: EvalResult | None
    after: EvalResult
    nulls: Sequence[EvalResult] = ()
    trained: TrainResult | None = None
