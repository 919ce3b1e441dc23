"""What the tests of the rules are made from, compared with tables and with all orders."""

from __future__ import annotations

import itertools
import math

import pytest

from framework_plugins.monitor.evidence import FALSE_ALARMS, deviations, falling_fit, few_runs, spent


def test_all_looks_together_spend_the_share_of_false_alarms() -> None:
    assert sum(3 * spent(look, tests=3) for look in range(1, 10_000)) == pytest.approx(FALSE_ALARMS, rel=1e-3)


@pytest.mark.parametrize(
    ("chance", "freedom", "value"),
    [(0.025, math.inf, 1.960), (0.025, 10, 2.228), (0.001, 4, 7.173), (1e-20, math.inf, 9.262)],
)
def test_standard_errors_are_those_of_the_normal_distribution_and_of_students_t(
    chance: float, freedom: float, value: float
) -> None:
    assert deviations(chance, freedom) == pytest.approx(value, rel=0.05)


def test_the_chance_of_few_runs_is_their_share_in_all_orders() -> None:
    orders = [tuple(number in marked for number in range(9)) for marked in itertools.combinations(range(9), 4)]
    runs = [sum(here and not before for before, here in zip((False, *order), order, strict=False)) for order in orders]
    for most in range(1, 5):
        assert few_runs(most, 4, 9) == pytest.approx(sum(each <= most for each in runs) / len(runs))


def test_the_closest_falling_sequence_joins_what_rises() -> None:
    assert falling_fit([5, 3, 4, 1]) == pytest.approx((0.5, 3))
    assert falling_fit([1, 2, 3]) == pytest.approx((2, 1))
    assert falling_fit([3, 2, 1]) == (0, 3)
