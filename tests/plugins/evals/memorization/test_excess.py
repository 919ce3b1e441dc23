"""The interval of a difference of two shares is the published one, and holds for values between zero and one."""

import numpy as np
import pytest

from framework_plugins.evals.memorization.excess import excess, wilson


def ones(count: int, total: int) -> list[float]:
    return [1.0] * count + [0.0] * (total - count)


# Newcombe 1998, Statistics in Medicine 17, table II, method 10.
@pytest.mark.parametrize(
    ("one", "two", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_bounds_are_those_of_the_paper(one: tuple[int, int], two: tuple[int, int], low: float, high: float) -> None:
    found = excess(ones(*one), ones(*two), 0.95)
    assert found.value == pytest.approx(one[0] / one[1] - two[0] / two[1])
    assert [found.low, found.high] == pytest.approx([low, high], abs=1e-4)


def test_without_a_second_group_the_bounds_are_those_of_the_share() -> None:
    found = excess(ones(9, 10), [], 0.95)
    assert (found.value, found.low, found.high) == wilson(ones(9, 10), 0.95)
    assert [found.low, found.high] == pytest.approx([0.5958, 0.9821], abs=1e-4)


def test_the_true_difference_is_below_the_lower_bound_as_rarely_as_promised() -> None:
    random = np.random.default_rng(0)
    for shape, few in (((0.4, 0.4), 4), ((8.0, 2.0), 4), ((2.0, 8.0), 24)):
        drawn = [
            excess(list(random.beta(*shape, size=24)), list(random.beta(*shape, size=few)), 0.95) for _ in range(2000)
        ]
        assert np.mean([found.low > 0 for found in drawn]) <= 0.03
