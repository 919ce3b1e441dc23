"""framework/evaluate/verdict/bootstrap.py: intervals of paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.records import Measure
from framework.evaluate.verdict.bootstrap import CELLS, Interval, interval
from tests.support.examples import examples


def measured(items: list[float | None], *, weights: list[float] | None = None, exponential: bool = False) -> Measure:
    return Measure(0.0, items, weights or [], exponential=exponential)


def found(before: Measure, after: Measure, confidence: float = 0.95, resamples: int = 2000) -> Interval:
    made = interval(before, after, confidence=confidence, resamples=resamples)
    assert made is not None
    return made


def test_the_interval_is_that_of_the_normal_distribution_where_there_are_many_pairs() -> None:
    random = np.random.default_rng(3)
    one = random.normal(0, 5, 2000)
    two = one + random.normal(0.5, 1, 2000)
    made = found(measured([*one]), measured([*two]))
    middle, error = (two - one).mean(), (two - one).std() / math.sqrt(2000)
    assert made.difference == pytest.approx(middle)
    assert (made.low, made.high) == pytest.approx((middle - 1.96 * error, middle + 1.96 * error), abs=0.25 * error)


def test_it_holds_the_truth_as_often_as_it_says() -> None:
    """Of 300 experiments without any difference, about 5% claim one at 95%."""
    random = np.random.default_rng(0)
    wrong = 0
    for _ in range(300):
        one, two = (random.integers(0, 2, 30).astype(float) for _ in range(2))
        made = found(measured([*one]), measured([*two]), resamples=400)
        wrong += made.low > 0 or made.high < 0
    assert 2 <= wrong <= 33


def test_pairs_are_drawn_and_not_answers() -> None:
    """What makes one prompt harder than another drops out."""
    hard = [float(number) for number in range(40)]
    made = found(measured([*hard]), measured([value + 1 for value in hard]))
    assert (made.difference, made.low, made.high) == pytest.approx((1, 1, 1))


def test_more_pairs_than_cells_give_the_same_interval() -> None:
    random = np.random.default_rng(5)
    one = random.normal(0, 1, 3 * CELLS)
    two = one + random.normal(0.02, 1, 3 * CELLS)
    made = found(measured([*one]), measured([*two]), resamples=1000)
    error = (two - one).std() / math.sqrt(3 * CELLS)
    assert made.high - made.low == pytest.approx(2 * 1.96 * error, rel=0.15)


def test_weights_count() -> None:
    made = found(measured([0.0, 0.0], weights=[3, 1]), measured([1.0, 0.0], weights=[3, 1]))
    assert made.difference == pytest.approx(0.75)


def test_a_perplexity_is_compared_as_one() -> None:
    before, after = [math.log(8.0)] * 10, [math.log(2.0)] * 10
    made = found(measured([*before], exponential=True), measured([*after], exponential=True))
    assert (made.difference, made.low, made.high) == pytest.approx((-6, -6, -6))


def test_an_item_that_one_side_lacks_is_left_out() -> None:
    made = found(measured([0.0, None, 0.0, 5.0]), measured([1.0, 1.0, 1.0, None]))
    assert (made.pairs, made.difference) == (2, 1)


@pytest.mark.parametrize(("one", "two"), [([], []), ([1.0], [1.0, 2.0]), ([None], [1.0])])
def test_nothing_in_common_has_no_interval(one: list[float | None], two: list[float | None]) -> None:
    assert interval(measured(one), measured(two), confidence=0.95, resamples=100) is None


@settings(max_examples=examples(50))
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30), st.floats(0.5, 0.99))
def test_turned_round_the_interval_is_its_mirror(pairs: list[tuple[float, float]], confidence: float) -> None:
    one, two = (measured([*part]) for part in zip(*pairs, strict=True))
    there, back = found(one, two, confidence, 200), found(two, one, confidence, 200)
    assert there.low <= there.high
    assert (there.difference, there.low) == pytest.approx((-back.difference, -back.high), abs=1e-9)
