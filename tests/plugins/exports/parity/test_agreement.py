"""exports/parity/agreement.py: how far two models agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework_plugins.exports.parity.agreement import Answer, Logits, agree
from framework_plugins.exports.parity.check_rows import CheckRow
from tests.support.examples import examples

ROW = CheckRow("a prompt", (1, 2), (3,), stopped=True)
"""Three positions: the second predicts the answer, the third its end."""
STOP = frozenset({0})


def logits(*tops: int, size: float = 5.0) -> Logits:
    """Return logits of four tokens, each with one that is the likeliest."""
    made = np.zeros((len(tops), 4), dtype=np.float32)
    made[np.arange(len(tops)), tops] = size
    return made


def test_a_model_agrees_with_itself() -> None:
    found = agree([ROW], [logits(1, 3, 0)], [logits(1, 3, 0)], STOP, 0.02)
    assert (found.positions, found.same, found.ties, found.top1, found.kl) == (3, 3, 0, 1.0, 0.0)
    assert (found.perplexity_ratio, found.stops, found.stops_kept) == (1.0, [True], True)
    assert found.text() == "top-1 100.00% of 3 positions, KL 0, perplexity x1.000, greedy answers equal 1 of 1"


def test_another_likeliest_token_is_counted_and_an_answer_that_goes_on_is_seen() -> None:
    found = agree([ROW], [logits(1, 3, 0)], [logits(1, 3, 2)], STOP, 0.02)
    assert (found.same, found.ties, found.stops_kept) == (2, 0, False)
    assert found.top1_beyond_ties == pytest.approx(2 / 3)


def test_a_near_tie_is_distinguished_from_a_difference() -> None:
    near = logits(1, 3, 0)
    near[0, 2] = 4.99
    found = agree([ROW], [near], [logits(2, 3, 0)], STOP, 0.02)
    assert (found.same, found.ties, found.top1_beyond_ties) == (2, 1, 1.0)
    assert found.text().startswith("top-1 66.67% (100.00% with ties below 0.02 nats) of 3 positions, ")
    assert agree([ROW], [near], [logits(2, 3, 0)], STOP, 0.005).ties == 0


def test_divergence_and_perplexity_are_those_of_the_distributions() -> None:
    flat = np.zeros((3, 4), dtype=np.float32)
    found = agree([ROW], [logits(1, 3, 0, size=math.log(9))], [flat], STOP, 0.02)
    sure, rest = 9 / 12, 1 / 12
    assert found.kl == pytest.approx(sure * math.log(sure * 4) + 3 * rest * math.log(rest * 4), rel=1e-5)
    assert found.perplexity_ratio == pytest.approx(sure * 4, rel=1e-5)  # of the one token of the answer


def test_padding_of_the_vocabulary_is_left_out() -> None:
    padded = np.concatenate([logits(1, 3, 0), np.full((3, 2), 9.0, dtype=np.float32)], axis=1)
    assert agree([ROW], [logits(1, 3, 0)], [padded], STOP, 0.02).top1 == 1.0


@settings(max_examples=examples(50))
@given(st.lists(st.lists(st.floats(-20, 20), min_size=4, max_size=4), min_size=6, max_size=6))
def test_the_divergence_is_never_negative(rows: list[list[float]]) -> None:
    one, two = np.array(rows[:3], dtype=np.float32), np.array(rows[3:], dtype=np.float32)
    assert agree([ROW], [one], [two], STOP, 0.02).kl >= -1e-6


def test_what_rows_begin_with_alike_counts_once() -> None:
    other = CheckRow("a prompt", (1, 2), (1,), stopped=False)
    found = agree([ROW, other], [logits(1, 3, 0), logits(1, 3, 0)], [logits(2, 3, 0), logits(2, 3, 0)], STOP, 0.02)
    assert (found.positions, found.same) == (4, 3)


@pytest.mark.parametrize(
    ("trained", "export", "answer"),
    [
        ((1, 3, 0), (2, 3, 0), Answer.same),  # of the prompt nothing is said
        ((1, 3, 0), (1, 2, 0), Answer.differs),
        ((1, 3, 0), (1, 3, 1), Answer.differs),
        ((1, 2, 0), (1, 2, 1), Answer.same),  # the trained weights leave the answer of the model in memory
    ],
)
def test_answers_are_followed_as_far_as_both_say_them(
    trained: tuple[int, ...], export: tuple[int, ...], answer: Answer
) -> None:
    assert agree([ROW], [logits(*trained)], [logits(*export)], STOP, 0.02).answers == [answer]


def test_an_answer_that_parts_at_a_near_tie_is_distinguished() -> None:
    near = logits(1, 3, 0)
    near[1, 2] = 4.99
    assert agree([ROW], [near], [logits(1, 2, 0)], STOP, 0.02).answers == [Answer.near]
