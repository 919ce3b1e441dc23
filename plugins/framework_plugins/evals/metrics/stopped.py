"""`metric=stopped`: whether the model ended its answer by itself. The prompts evaluator measures it in any case."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api import Answered, AnswerMetric, Scores
from framework_plugins.evals.config import StoppedConfig


class Stopped(AnswerMetric):
    """The share of answers with an end, before the limit of tokens cut them off."""

    def __init__(self, config: StoppedConfig) -> None:
        self.config = config

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        return Scores([float(answer.stopped) for answer in answers])
