"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt

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
class ExactMatchConfig(MetricConfig):
    """1 where the answer is the reference, white space around them left out."""

    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class JsonValidConfig(MetricConfig):
    """1 where the whole answer is JSON, without a fence or a word around it."""
