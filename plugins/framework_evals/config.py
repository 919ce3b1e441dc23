"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt, Interval

from framework.schema import EvaluatorConfig, MetricConfig


@dataclass
class PromptsConfig(EvaluatorConfig):
    """The same prompts before and after training: the data's own, or else validation rows."""

    count: Annotated[int, Gt(0)] = 30
    """How many prompts, from the first."""
    max_new_tokens: Annotated[int, Gt(0)] = 128
    """Longest answer in tokens."""
    batch_size: Annotated[int, Gt(0)] = 16
    """Prompts answered at once."""


@dataclass
class MemorizationConfig(EvaluatorConfig):
    """Whether training rows are recited, beside held-out rows and the base model."""

    rows: Annotated[int, Gt(0)] = 24
    """How many training rows are asked, and how many held-out ones."""
    max_new_tokens: Annotated[int, Gt(0)] = 48
    """Tokens of an answer, from its first, that are compared with the true ones."""
    min_tokens: Annotated[int, Gt(1)] = 4
    """Rows whose answer has fewer tokens, the stop token counted, are left out: they are too easily right."""
    seed: int = 0
    """Decides which rows are asked."""
    excess: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Flagged where, at the confidence of the verdict, more than this share of the training rows is recited beyond what
    held-out rows show to be learned."""
    excess_alone: Annotated[float, Interval(ge=0, lt=1)] = 0.5
    """The same where too few rows are held out, and the base model alone is compared with."""

    def measures(self) -> tuple[str, ...]:
        """Name what is measured; nothing of the held-out rows where there are too few."""
        looks = [f"{look}_{part}" for part in ("train", "heldout") for look in ("verbatim", "prefix", "common_run")]
        return (*looks, "verbatim_excess")


@dataclass
class ExactMatchConfig(MetricConfig):
    """1 where the answer is the reference, white space around them left out."""

    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class JsonValidConfig(MetricConfig):
    """1 where the whole answer is JSON, without a fence or a word around it."""
