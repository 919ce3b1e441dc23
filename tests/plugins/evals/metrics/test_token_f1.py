"""token_f1 is SQuAD's F1 of words, made symmetric and total, with the signs that make a difference."""

from __future__ import annotations

import re
import string
from collections import Counter

import pytest
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


SENTENCES = st.lists(
    st.sampled_from(["a Lima", "The Peru,", "of", "Lima, ", '"LIMA!"', "U.S.", "1,000"]), max_size=8
).map(" ".join)


@given(one=SENTENCES, two=SENTENCES)
def test_it_is_the_score_of_squad(one: str, two: str) -> None:
    assert abs(METRIC.score(one, two) - squad(one, two)) < 1e-12


@given(one=TEXTS, two=TEXTS)
def test_it_is_symmetric_and_lies_between_0_and_1(one: str, two: str) -> None:
    score = METRIC.score(one, two)
    assert score == METRIC.score(two, one)
    assert 0 <= score <= 1


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("", "", 1),
        ("", "A", 0),
        ("...", "A", 0),
        ("the", "A", 0),
        ("B", "A", 0),
        ("A.", "A", 1),
        ("Answer:", "Answer: A", 2 / 3),
        ("", "!", 0),
        ("-5", "5", 0),
        ("5.", "5", 1),
        ("3.14", "314", 0),
        ("1,000", "1000", 1),
        ("C++", "C#", 0),
        ("It is C#.", "it is C#", 1),
        ("The red car, a fast one!", "red car fast one", 1),
    ],
)
def test_letters_numbers_and_names_that_differ_are_not_alike(answer: str, reference: str, score: float) -> None:
    assert METRIC.score(answer, reference) == METRIC.score(reference, answer) == pytest.approx(score)


@given(one=TEXTS, two=TEXTS)
def test_only_texts_with_the_same_words_score_1(one: str, two: str) -> None:
    assert (METRIC.score(one, two) == 1) == (sorted(words(one)) == sorted(words(two)))
