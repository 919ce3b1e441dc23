"""`metric=perplexity`: how unlikely the model finds the reference, given the prompt.

The score of an answer is the mean surprise of a token of its reference, stop token included, in nats. The number that
is reported is e to the power of the mean over all those tokens: the perplexity.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from framework.api import Answered, AnswerMetric, Scores
from framework_plugins.evals.config import PerplexityConfig


class Perplexity(AnswerMetric):
    """The perplexity of the references."""

    higher_is_better = False
    needs_reference = True
    needs_log_probs = True
    exponential = True
    unit = "choices"

    def __init__(self, config: PerplexityConfig) -> None:
        self.config = config

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Take the mean for each reference, which counts by its tokens."""
        log_probs = [answer.reference_log_probs for answer in answers]
        return Scores(
            [-fmean(part) if part else None for part in log_probs], [float(len(part or ())) for part in log_probs]
        )
