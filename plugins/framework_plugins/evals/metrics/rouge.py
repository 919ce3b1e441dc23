"""`metric=rouge`: ROUGE by Google's `rouge-score`, the F-measure, from 0 to 1."""

from __future__ import annotations

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from framework.api import Metric
from framework_plugins.evals.config import WORD, RougeConfig, RougeWords


class Rouge(Metric):
    """The mean F-measure."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: RougeConfig) -> None:
        self._type = config.kind.value
        any_script = config.words is RougeWords.unicode
        tokenizer = AnyScript() if any_script else DefaultTokenizer(config.stemmer)
        self._scorer = RougeScorer([self._type], tokenizer=tokenizer)

    def score(self, answer: str, reference: str | None) -> float:
        return float(self._scorer.score(reference or "", answer)[self._type].fmeasure)


class AnyScript(Tokenizer):
    """Words of any script, in lower case."""

    def tokenize(self, text: str) -> list[str]:
        """Cut a text into words."""
        return WORD.findall(text.lower())
