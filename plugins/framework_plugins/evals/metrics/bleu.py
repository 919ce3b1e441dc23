"""`metric=bleu`: BLEU of each answer by sacrebleu, as a share of its 100 points.

Sentence BLEU with exponential smoothing and effective order: an answer shorter than four words is judged by the n-grams
that it has. The mean over the answers is not the BLEU of a corpus, which papers report.
"""

from __future__ import annotations

from sacrebleu.metrics.bleu import BLEU

from framework.api import Metric
from framework_plugins.evals.config import BleuConfig


class Bleu(Metric):
    """The mean sentence BLEU."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: BleuConfig) -> None:
        self._bleu = BLEU(tokenize=config.tokenize.value, lowercase=config.ignore_case, effective_order=True)

    def score(self, answer: str, reference: str | None) -> float:
        return min(1.0, float(self._bleu.sentence_score(answer, [reference or ""]).score) / 100)
