"""framework/evaluate/verdict/paired.py: the tests and the intervals of pairs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.evaluate.verdict.paired import (
    MOST_UNITS,
    flip_against_tail,
    mcnemar,
    of_means,
    of_shares,
    sign_flip,
    student,
)
from tests.support.examples import examples

VALUES = st.lists(st.floats(-5, 5).map(lambda value: round(value, 3)), min_size=1, max_size=12)


def p_value(values: list[float], resamples: int = 999) -> float:
    return float(sign_flip(np.array([values]), resamples=resamples)[0])


@pytest.mark.parametrize(
    ("better", "worse", "value"),
    [(4, 0, 0.125), (5, 0, 0.0625), (6, 0, 0.03125), (0, 6, 0.03125), (0, 0, 1.0), (3, 3, 1.0), (20, 3, 0.000488)],
)
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ(better: int, worse: int, value: float) -> None:
    found = mcnemar(np.array([better]), np.array([worse]))
    assert float(found[0]) == pytest.approx(value, abs=1e-6)


@settings(max_examples=examples(30))
@given(VALUES)
def test_few_units_are_counted_exactly(values: list[float]) -> None:
    whole = abs(sum(values)) - 1e-9 * sum(map(abs, values))
    patterns = itertools.product((-1, 1), repeat=len(values))
    sums = [abs(sum(sign * value for sign, value in zip(signs, values, strict=True))) for signs in patterns]
    assert p_value(values) == pytest.approx(sum(each >= whole for each in sums) / len(sums))


def test_of_zeros_and_ones_the_sign_flip_is_mcnemar() -> None:
    assert p_value([1.0] * 8 + [-1.0] * 2 + [0.0] * 30) == pytest.approx(
        float(mcnemar(np.array([8]), np.array([2]))[0])
    )


def test_many_units_are_drawn_with_the_observed_one_among_them() -> None:
    """All of 40 that lean to one side have p near 1e-12; of 999 patterns the least that can be said is 1 of 1,000."""
    assert p_value([1.0] * 40) == pytest.approx(0.001)
    random = np.random.default_rng(4)
    values = list(random.normal(0.35, 1, 60))
    assert p_value(values) == p_value(values)  # the same seed, the same answer
    assert p_value(values, 20_000) == pytest.approx(float(_t_test(np.array(values))), abs=0.01)


def _t_test(values: np.ndarray) -> float:
    """The p-value of the t-test by the normal distribution, near enough with 60 values."""
    from statistics import NormalDist

    z = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(len(values)))
    return 2 * (1 - NormalDist().cdf(z * 0.99))


def test_more_units_than_are_flipped_keep_their_answer() -> None:
    random = np.random.default_rng(5)
    none, some = random.normal(0, 1, 3 * MOST_UNITS), random.normal(0.1, 1, 3 * MOST_UNITS)
    values = sign_flip(np.stack([none, some]), resamples=999)
    assert values[0] > 0.05
    assert values[1] == pytest.approx(0.001)


def against_tail(values: list[float]) -> float:
    sums = np.array([values])
    return float(flip_against_tail(sums, np.ones_like(sums), resamples=999)[0])


@settings(max_examples=examples(30))
@given(VALUES)
def test_a_longer_tail_against_the_mean_only_raises_the_p_value(values: list[float]) -> None:
    assert against_tail(values) >= p_value(values)
    assert against_tail([-value for value in values]) == against_tail(values)
    both = [*values, *(2 * float(np.mean(values)) - value for value in values)]  # tails of one length
    assert against_tail(both) == pytest.approx(p_value(both))


def test_many_that_fall_a_little_are_no_gain_if_few_rise_far() -> None:
    little = [-0.3 - 0.01 * number for number in range(18)]
    assert p_value([*little, 0.9, 1.2]) < 0.05 < against_tail([*little, 0.9, 1.2])
    assert against_tail([*little, -0.9, -1.2]) == p_value([*little, -0.9, -1.2]) < 0.001 + 1e-9


@settings(max_examples=examples(30))
@given(VALUES)
def test_turned_round_the_interval_is_its_mirror_and_the_test_the_same(values: list[float]) -> None:
    sums, ones = np.array([values]), np.ones((1, len(values)))
    there, back = of_means(sums, ones, 0.95, 0.0), of_means(-sums, ones, 0.95, 0.0)
    assert there[0][0] <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= there[1][0]
    assert (there[0][0], there[1][0]) == pytest.approx((-back[1][0], -back[0][0]), rel=1e-6, abs=1e-6)
    assert p_value(values) == p_value([-value for value in values])


@settings(max_examples=examples(30))
@given(st.lists(st.floats(-5, 5).map(lambda value: round(value, 3)), min_size=3, max_size=12), st.floats(0.01, 100))
def test_another_unit_of_the_measure_changes_nothing(values: list[float], factor: float) -> None:
    sums, ones = np.array([values]), np.ones((1, len(values)))
    one, other = of_means(sums, ones, 0.9, 0.0), of_means(sums * factor, ones, 0.9, 0.0)
    assert [float(bound[0]) * factor for bound in one] == pytest.approx([float(bound[0]) for bound in other], abs=1e-6)


def test_no_interval_of_shares_is_without_width() -> None:
    low, high = of_shares(np.array([20.0]), np.array([0.0]), 20, 0.95)
    assert (float(low[0]), float(high[0])) == pytest.approx((0.74, 1.08), abs=0.01)
    low, high = of_means(np.ones((1, 20)), np.ones((1, 20)), 0.95, 1.0)
    assert (float(low[0]), float(high[0])) == pytest.approx((0.74, 1.08), abs=0.01)


def test_one_unit_tells_nothing() -> None:
    low, high = of_means(np.array([[3.0]]), np.array([[1.0]]), 0.95, 0.0)
    assert (low[0], high[0]) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("confidence", "freedom", "value"), [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 7, 2.365), (0.99, 59, 2.662)]
)
def test_the_quantile_is_students(confidence: float, freedom: int, value: float) -> None:
    assert float(student(confidence, np.array([float(freedom)]))[0]) == pytest.approx(value, abs=1e-3)


def test_a_lower_level_has_to_rule_out_a_longer_tail() -> None:
    sums = np.array([[*[-0.3 - 0.01 * number for number in range(18)], 0.5]])
    found = [
        float(flip_against_tail(sums, np.ones_like(sums), resamples=999, level=level)[0])
        for level in (0.2, 0.05, 0.001)
    ]
    assert found[0] == found[1] < found[2]
