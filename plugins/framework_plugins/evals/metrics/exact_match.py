"""`metric=exact_match`: whether the answer is the reference."""

from __future__ import annotations

from framework.api import Metric
from framework_plugins.evals.config import ExactMatchConfig


class ExactMatch(Metric):
    """The share of answers that are the reference."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: ExactMatchConfig) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:
        """Compare without the white space around."""
        return float(self._normalize(answer) == self._normalize(reference or ""))

    def may_match(self, begun: str, reference: str) -> bool:
        """Whether the reference begins with the beginning of an answer."""
        return self._normalize(reference).startswith(self._normalize(begun))

    def _normalize(self, text: str) -> str:
        return text.strip().casefold() if self.config.ignore_case else text.strip()
