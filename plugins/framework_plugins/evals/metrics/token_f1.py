"""`metric=token_f1`: the words that an answer shares with the reference, as SQuAD counts them.

The words are compared in lower case, without punctuation and without the articles a, an and the. F1 is the harmonic
mean of precision (the part of the answer's words that are the reference's) and recall (the part of the reference's
words that are in the answer).

It differs from SQuAD, which has no answers such as A, -5 or C#, in three ways: an article is left out only before
another word, signs of numbers and of names such as C++ stay, and if a text has no word, all its characters count.
"""

from __future__ import annotations

import re
from collections import Counter

from framework.api import Metric
from framework_plugins.evals.config import TokenF1Config

ARTICLES = re.compile(r"\b(a|an|the)\s+(?=[\"'(\[]?\w)")
PUNCTUATION = re.compile(
    r"(?<!\w)[-+](?=\.?\d)|(?<=\d)(?:[.:/]|,(?!\d{3}(?!\d)))(?=\d)|(?<=\w)[+#]+(?!\w)|([!-/:-@\[-`{-~])"
)
"""A sign that stays, or one in a group, which goes."""


class TokenF1(Metric):
    """The mean F1 of the words."""

    higher_is_better = True
    needs_reference = True

    def __init__(self, config: TokenF1Config) -> None:
        self.config = config

    def score(self, answer: str, reference: str | None) -> float:
        """Compare the words as multisets."""
        answer_words, reference_words = words(answer), words(reference or "")
        if not answer_words or not reference_words:
            return float(answer_words == reference_words)
        shared = sum((Counter(answer_words) & Counter(reference_words)).values())
        return 2 * shared / (len(answer_words) + len(reference_words))


def words(text: str) -> list[str]:
    """Return the words of a text as SQuAD normalises them, with the signs that make a difference."""
    text = text.lower()
    bare = PUNCTUATION.sub(lambda sign: "" if sign[1] else sign[0], ARTICLES.sub(" ", text))
    return bare.split() or text.split()
