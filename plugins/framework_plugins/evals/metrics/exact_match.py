"""`metric=exact_match`: whether the answer is the reference."""

from __future__ import annotations

from framework_plugins.evals.config import ExactMatchConfig


class ExactMatch:
    """The share of answers that are the reference."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: ExactMatchConfig) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:
        """Compare without the white space around."""
        pair = [text.strip() for text in (answer, reference or "")]
        if self.config.ignore_case:
            pair = [text.casefold() for text in pair]
        return float(pair[0] == pair[1])
