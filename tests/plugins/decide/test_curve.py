"""decide/curve.py: a power law of the error is found again, and what the runs cannot tell is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from framework import FrameworkError
from framework_plugins.decide.curve import expected_gain

SIZES = (160, 320, 640)


def wrong(sizes: tuple[int, ...], power: float, rows: int, seed: int = 0) -> list[NDArray[np.float64]]:
    """Return which rows are wrong: a row is, up to the number of training rows that its draw needs."""
    draw = np.random.default_rng(seed).random(rows)
    return [(draw < 4 * size**-power).astype(float) for size in sizes]


def test_the_gain_of_a_power_law_is_found_and_its_interval_holds_it_as_often_as_it_says() -> None:
    truth = 4 * (640**-0.5 - 1140**-0.5)
    held = 0
    for seed in range(40):
        low, gain, high = expected_gain(SIZES, wrong(SIZES, 0.5, 2000, seed), 500)
        assert gain == pytest.approx(truth, abs=0.02)
        held += low <= truth <= high
    assert held >= 34  # 95 % of 40 are 38; fewer than 34 come in 1 of 200


@pytest.mark.parametrize(
    ("sizes", "more", "message"),
    [
        ((160, 640), 500, "3 different numbers of training rows, and these have 160, 640: -m data.max_rows="),
        (SIZES, 641, "--more=641: 640 rows tell nothing of more than twice as many: give 640 or less"),
    ],
)
def test_what_the_runs_cannot_tell_is_refused(sizes: tuple[int, ...], more: int, message: str) -> None:
    with pytest.raises(FrameworkError, match=message):
        expected_gain(sizes, wrong(sizes, 0.5, 100), more)


def test_without_any_error_no_gain_is_left() -> None:
    low, gain, high = expected_gain(SIZES, [np.zeros(100)] * 3, 500)
    assert (low, gain, high) == pytest.approx((0, 0, 0), abs=1e-9)
