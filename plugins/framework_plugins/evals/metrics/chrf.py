"""`metric=chrf`: chrF of each answer by sacrebleu, as a share of its 100 points: n-grams of characters, no words."""

from __future__ import annotations

from sacrebleu.metrics.chrf import CHRF

from framework.api import Metric
from framework_plugins.evals.config import ChrfConfig


class Chrf(Metric):
    """The mean chrF of an answer."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: ChrfConfig) -> None:
        self._chrf = CHRF(word_order=config.word_order, lowercase=config.ignore_case)

    def score(self, answer: str, reference: str | None) -> float:
        return min(1.0, float(self._chrf.sentence_score(answer, [reference or ""]).score) / 100)
