"""framework/util/power.py: what a number of prompts can show."""

from __future__ import annotations

import pytest

from framework.util.power import least_difference


@pytest.mark.parametrize(("count", "points"), [(12, 68), (20, 46), (60, 21), (100, 15), (200, 9)])
def test_the_least_difference_falls_with_the_prompts(count: int, points: int) -> None:
    assert least_difference(count) == pytest.approx(points / 100)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_five_prompts_can_show_nothing(count: int) -> None:
    assert least_difference(count) is None


def test_the_approximation_for_many_prompts_joins_the_sum() -> None:
    exact, about = least_difference(200), least_difference(201)
    assert exact is not None
    assert about == pytest.approx(exact, abs=0.015)


def test_a_higher_confidence_takes_a_larger_difference() -> None:
    sure, surer = least_difference(40, 0.95), least_difference(40, 0.99)
    assert sure is not None
    assert surer is not None
    assert surer > sure
