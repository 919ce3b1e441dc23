"""`metric=readability`: one formula of textstat. Nothing is downloaded: `plugin.py` refuses what would need it."""

from __future__ import annotations

from typing import Any

import nltk
from textstat.textstat import textstatistics

from framework_textstats.config import Aim, Measure, ReadabilityConfig


class Readability:
    """A formula, with the language set for this metric alone: textstat's own functions share one for the process."""

    needs_reference = False

    def __init__(self, config: ReadabilityConfig) -> None:
        self.config = config
        self.textstat: Any = textstatistics()
        self.textstat.set_lang(config.language.value)
        rises_with_ease = config.measure is Measure.flesch_reading_ease
        self.higher_is_better = rises_with_ease is (config.aim is Aim.easier)

    def score(self, answer: str, reference: str | None) -> float:  # noqa: ARG002 - the protocol's signature
        """Apply the formula; an answer without a word has none."""
        if not self.textstat.lexicon_count(answer):
            return self.config.empty
        return float(getattr(self.textstat, self.config.measure.value)(answer))


def has_dictionary() -> bool:
    """Whether nltk finds the pronunciation dictionary that textstat looks English syllables up in."""
    try:
        nltk.data.find("corpora/cmudict")
    except LookupError:
        return False
    return True
