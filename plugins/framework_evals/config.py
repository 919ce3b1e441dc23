"""Options of `evaluator=` and `metric=`."""

from __future__ import annotations

from dataclasses import dataclass

from framework.schema import EvaluatorConfig, MetricConfig


@dataclass
class PromptsConfig(EvaluatorConfig):
    """The same prompts before and after training: the data's own, or else validation rows."""

    count: int = 30
    """How many prompts, from the first."""
    max_new_tokens: int = 128
    """Longest answer in tokens."""
    batch_size: int = 16
    """Prompts answered at once."""


@dataclass
class ExactMatchConfig(MetricConfig):
    """1 where the answer is the reference, white space around them left out."""

    ignore_case: bool = False
    """Treat upper and lower case alike."""


@dataclass
class JsonValidConfig(MetricConfig):
    """1 where the whole answer is JSON, without a fence or a word around it."""
