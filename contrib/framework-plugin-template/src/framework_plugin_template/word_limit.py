"""`metric=word_limit`: the code behind the option, imported when a run has chosen it. Heavy imports go here."""

from __future__ import annotations

from framework_plugin_template.config import WordLimitConfig


class WordLimit:
    """Counts the words between white space."""

    higher_is_better = True
    needs_reference = False

    def __init__(self, config: WordLimitConfig) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        """Compare the number of words with the limits."""
        words = len(answer.split())
        if words < self.config.least:
            return 0.0
        if words <= self.config.limit:
            return 1.0
        return 0.0 if self.config.strict else self.config.limit / words
