"""`metric=length`: the tokens of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api import Answered, AnswerMetric, Scores
from framework_plugins.evals.config import Aim, LengthConfig


class Length(AnswerMetric):
    """The mean length of an answer in tokens, the stop token left out."""

    unit = "tokens"

    def __init__(self, config: LengthConfig) -> None:
        self.higher_is_better = config.aim is Aim.longer

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        return Scores([float(answer.tokens) for answer in answers])
