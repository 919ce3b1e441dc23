"""token_f1 is SQuAD's F1, made symmetric and total."""

from __future__ import annotations

import re
import string
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from framework_plugins.evals.config import TokenF1Config
from framework_plugins.evals.metrics.token_f1 import TokenF1, words

METRIC = TokenF1(TokenF1Config())
TEXTS = st.text() | st.lists(st.sampled_from(["a", "the", "Lima", "Peru", "of", ",", "LIMA!"]), max_size=8).map(
    " ".join
)


def squad(prediction: str, truth: str) -> float:
    """Score as SQuAD's official script does (evaluate-v1.1.py and, for empty answers, evaluate-v2.0.py)."""

    def normalize(text: str) -> list[str]:
        kept = "".join(character for character in text.lower() if character not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", kept).split()

    said, wanted = normalize(prediction), normalize(truth)
    if len(said) == 0 or len(wanted) == 0:
        return int(said == wanted)
    same = sum((Counter(said) & Counter(wanted)).values())
    if same == 0:
        return 0
    precision, recall = same / len(said), same / len(wanted)
    return (2 * precision * recall) / (precision + recall)


@given(one=TEXTS, two=TEXTS)
def test_it_is_the_score_of_squad(one: str, two: str) -> None:
    assert abs(METRIC.score(one, two) - squad(one, two)) < 1e-12


@given(one=TEXTS, two=TEXTS)
def test_it_is_symmetric_and_lies_between_0_and_1(one: str, two: str) -> None:
    score = METRIC.score(one, two)
    assert score == METRIC.score(two, one)
    assert 0 <= score <= 1


@given(text=TEXTS)
def test_a_text_is_like_itself(text: str) -> None:
    assert METRIC.score(text, text) == 1
    assert METRIC.score(f" The {text} ! ", text) == 1


@given(one=TEXTS, two=TEXTS)
def test_only_texts_with_the_same_words_score_1(one: str, two: str) -> None:
    assert (METRIC.score(one, two) == 1) == (sorted(words(one)) == sorted(words(two)))
