"""Options of `metric.word_limit`: the settings with their defaults, their ranges, and a sentence each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from framework.api import MetricConfig


@dataclass
class WordLimitConfig(MetricConfig):
    """1 if the answer keeps to a number of words, and less the longer it is."""

    limit: Annotated[int, Gt(0)] = 50
    """Most words that an answer may have."""
    least: Annotated[int, Ge(0)] = 1
    """Fewest words; an answer with fewer scores 0."""
    strict: bool = False
    """Score an answer above the limit 0. Otherwise an answer of twice the limit scores one half."""
