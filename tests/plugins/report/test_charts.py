"""The coordinates of the drawings."""

import dataclasses
import math

import pytest

from framework.api.records import Step
from framework_plugins.report import charts
from tests.support.results import FITTING, SPIKE


def steps(*losses: float, checks: dict[int, float] | None = None) -> list[Step]:
    return [
        Step(n, len(losses), 0.1, loss, 2e-4, 1.0, 300, 2.0, eval_loss=(checks or {}).get(n))
        for n, loss in enumerate(losses, start=1)
    ]


def test_bars_are_as_high_as_they_have_rows_and_stand_on_the_axis() -> None:
    lengths = dataclasses.replace(FITTING, edges=[10, 20, 30], histogram=[50, 0, 100])
    drawn = charts.histogram(lengths)
    assert [bar.height for bar in drawn["bars"]] == [75.0, 0.0, 150.0]
    assert all(bar.y + bar.height == charts.HEIGHT for bar in drawn["bars"])
    assert [bar.title for bar in drawn["bars"]] == [
        "1 to 10 tokens: 50 rows",
        "11 to 20 tokens: 0 rows",
        "21 to 30 tokens: 100 rows",
    ]
    assert (drawn["first"], drawn["last"], drawn["most"]) == (1, 30, 100)


def test_a_single_row_among_many_can_be_seen() -> None:
    lengths = dataclasses.replace(FITTING, edges=[10, 20], histogram=[100_000, 1])
    assert charts.histogram(lengths)["bars"][1].height == 2.0


def test_the_curve_runs_from_the_first_to_the_last_step_and_down_to_zero() -> None:
    curve = charts.curve(steps(2.0, 1.0, 0.0, checks={2: 0.5}))
    assert curve is not None
    assert curve["line"] == "0.0,0.0 300.0,75.0 600.0,150.0"
    assert curve["dots"] == [(300.0, 112.5, "step 2: eval_loss 0.5000")]
    assert (curve["first"], curve["last"], curve["highest"]) == (1, 3, "2")


@pytest.mark.parametrize("losses", [(), (1.0,), (math.nan, math.inf), (math.nan, 1.0)])
def test_fewer_than_two_losses_are_no_curve(losses: tuple[float, ...]) -> None:
    assert charts.curve(steps(*losses)) is None


def test_a_loss_that_is_no_number_is_left_out() -> None:
    curve = charts.curve(steps(2.0, math.nan, 1.0, checks={3: math.nan}))
    assert curve is not None
    assert curve["line"] == "0.0,0.0 600.0,75.0"
    assert curve["dots"] == []


def test_losses_of_zero_are_a_line_on_the_axis() -> None:
    curve = charts.curve(steps(0.0, 0.0))
    assert curve is not None
    assert curve["line"] == "0.0,150.0 600.0,150.0"


def test_troubles_stand_where_they_were_seen_and_validations_are_joined() -> None:
    curve = charts.curve(steps(2.0, 1.0, 1.0, checks={2: 0.5, 3: 1.0}), [SPIKE, dataclasses.replace(SPIKE, step=0)])
    assert curve is not None
    assert curve["marks"] == [(300.0, SPIKE.line), (0.0, dataclasses.replace(SPIKE, step=0).line)]
    assert curve["checks"] == "300.0,112.5 600.0,75.0"


def test_a_step_that_is_reported_again_is_drawn_once() -> None:
    told = steps(2.0, 1.0, 0.5)
    curve = charts.curve([*told, dataclasses.replace(told[-1], eval_loss=1.5)])
    assert curve is not None
    assert curve["line"] == "0.0,0.0 300.0,75.0 600.0,112.5"
    assert curve["dots"] == [(600.0, 37.5, "step 3: eval_loss 1.5000")]


def test_many_steps_are_averaged() -> None:
    curve = charts.curve(steps(*[1.0, 3.0] * 5000))
    assert curve is not None
    points = [tuple(map(float, point.split(","))) for point in curve["line"].split()]
    assert len(points) <= charts.POINTS
    assert {y for _, y in points} == {0.0}
    assert points[-1][0] == 600.0
