"""Options of `metric.readability`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from framework.api import MetricConfig


class Measure(Enum):
    """The formulas that need nothing but the text, and the one that counts syllables."""

    automated_readability_index = "automated_readability_index"
    coleman_liau_index = "coleman_liau_index"
    flesch_reading_ease = "flesch_reading_ease"
    lix = "lix"
    rix = "rix"
    words_per_sentence = "words_per_sentence"


class Language(Enum):
    """The languages for which flesch_reading_ease has constants."""

    de = "de"
    en = "en"
    es = "es"
    fr = "fr"
    hu = "hu"
    it = "it"
    nl = "nl"
    ru = "ru"


class Aim(Enum):
    """Which answers are the better ones."""

    easier = "easier"
    harder = "harder"


@dataclass
class ReadabilityConfig(MetricConfig):
    """How easy an answer is to read, by a formula of textstat."""

    measure: Measure = Measure.lix
    """The formula. flesch_reading_ease rises with ease; the others fall."""
    language: Language = Language.en
    """Language of the answers. Only flesch_reading_ease uses it; for English it needs the nltk dictionary."""
    aim: Aim = Aim.easier
    """Whether an answer that is easier or harder to read is the better one."""
    empty: float = 0.0
    """Score of an answer without a word. For most formulas 0 means very easy: if the model may say nothing, give a
    score that counts against it."""
