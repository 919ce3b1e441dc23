"""The coordinates of the drawings."""

import dataclasses
import math
from collections.abc import Sequence
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framework.api.records import Step, TrainingIssue
from framework_plugins.report import charts
from tests.support.results import EVEN, FITTING, SPIKE


def steps(*losses: float, checks: dict[int, float] | None = None) -> list[Step]:
    return [
        Step(n, len(losses), 0.1, loss, 2e-4, 1.0, 300, 2.0, eval_loss=(checks or {}).get(n))
        for n, loss in enumerate(losses, start=1)
    ]


def loss(*losses: float, issues: Sequence[TrainingIssue] = (), checks: dict[int, float] | None = None) -> charts.Panel:
    panel = charts.curves(steps(*losses, checks=checks), issues)[0]
    assert panel.name == "loss"
    return panel


def test_bars_are_as_high_as_they_have_rows_and_stand_on_the_axis() -> None:
    lengths = dataclasses.replace(FITTING, edges=[10, 20, 30], histogram=[50, 0, 100])
    drawn = charts.histogram(dataclasses.replace(EVEN, lengths=lengths))
    assert [bar.height for bar in drawn["bars"]] == [75.0, 0.0, 150.0]
    assert all(bar.y + bar.height == charts.HEIGHT for bar in drawn["bars"])
    assert [bar.title for bar in drawn["bars"]] == [
        "1 to 10 tokens: 50 rows",
        "11 to 20 tokens: 0 rows",
        "21 to 30 tokens: 100 rows",
    ]
    assert (drawn["first"], drawn["last"], drawn["most"]) == (1, 30, 100)


def test_the_bars_begin_with_the_shortest_rows() -> None:
    lengths = dataclasses.replace(FITTING, edges=[10, 20, 30], histogram=[0, 50, 100])
    drawn = charts.histogram(dataclasses.replace(EVEN, lengths=lengths))
    assert [bar.title for bar in drawn["bars"]] == ["11 to 20 tokens: 50 rows", "21 to 30 tokens: 100 rows"]
    assert (drawn["first"], drawn["last"]) == (11, 30)


def test_a_single_row_among_many_can_be_seen() -> None:
    lengths = dataclasses.replace(FITTING, edges=[10, 20], histogram=[100_000, 1])
    assert charts.histogram(dataclasses.replace(EVEN, lengths=lengths))["bars"][1].height == 2.0


def test_the_validation_loss_of_base_and_trained_model_is_at_the_ends_of_the_curve() -> None:
    (panel, *_) = charts.curves(steps(2.0, 1.0, 0.5, checks={2: 0.8}), (), (2.0, 0.7))
    (checks,) = panel.checks
    assert [title for _, _, title in checks.dots] == [
        "step 0: eval_loss 2.0000",
        "step 2: eval_loss 0.8000",
        "step 3: eval_loss 0.7000",
    ]
    assert checks.dots[0][0] == 0.0
    assert panel.line.startswith("200.0,0.0 ")  # the axis begins with the base


def test_the_curve_runs_from_the_first_to_the_last_step_and_down_to_zero() -> None:
    panel = loss(2.0, 1.0, 0.0, checks={2: 0.5})
    assert panel.line == "0.0,0.0 300.0,75.0 600.0,150.0"
    assert panel.checks == [charts.Checks("eval_loss", 0, [(300.0, 112.5, "step 2: eval_loss 0.5000")], "")]
    assert panel.steps == [(0.0, "1"), (300.0, "2"), (600.0, "3")]
    assert panel.ticks == [(112.5, "0.5"), (75.0, "1"), (37.5, "1.5"), (0.0, "2")]


@pytest.mark.parametrize(
    ("losses", "line", "ticks"),
    [
        ((-1.0, -2.0, 0.0), "0.0,75.0 300.0,150.0 600.0,0.0", ["-2", "-1.5", "-1", "-0.5", "0"]),
        ((-3.0, 1.0), "0.0,150.0 600.0,0.0", ["-3", "-2", "-1", "0", "1"]),
        ((-0.03, -0.03), "0.0,150.0 600.0,150.0", ["-0.03", "-0.02", "-0.01", "0"]),
        ((0.0, 0.0), "0.0,150.0 600.0,150.0", ["0.5", "1"]),
    ],
)
def test_a_curve_may_be_below_zero(losses: tuple[float, ...], line: str, ticks: list[str]) -> None:
    panel = loss(*losses)
    assert (panel.line, [text for _, text in panel.ticks]) == (line, ticks)


def test_learning_rate_and_gradient_norm_have_drawings_of_their_own_over_the_same_steps() -> None:
    panels = charts.curves(steps(2.0, 1.0, 0.5))
    assert [(panel.name, panel.height) for panel in panels] == [
        ("loss", charts.HEIGHT), ("learning rate", charts.LOW_HEIGHT), ("gradient norm", charts.LOW_HEIGHT),
    ]  # fmt: skip
    assert len({tuple(panel.steps) for panel in panels}) == 1
    assert panels[1].line == "0.0,0.0 300.0,0.0 600.0,0.0"  # constant


def test_each_number_of_the_loss_has_a_drawing_of_the_steps_that_have_it() -> None:
    """Rewards and the entropy come with each draw, the share of clipped tokens with each step."""
    told = [dataclasses.replace(step, loss_metrics={"clip_ratio/low_mean": 0.1}) for step in steps(2.0, 1.0, 0.5, 0.4)]
    for at in (0, 2):
        told[at].loss_metrics["entropy"] = 1.5
    panels = charts.curves(told)[3:]
    assert [(panel.name, len(panel.line.split())) for panel in panels] == [("clip_ratio/low_mean", 4), ("entropy", 2)]


@pytest.mark.parametrize("losses", [(), (1.0,), (math.nan, math.inf), (math.nan, 1.0)])
def test_fewer_than_two_losses_are_no_curve(losses: tuple[float, ...]) -> None:
    assert "loss" not in [panel.name for panel in charts.curves(steps(*losses))]


def test_a_loss_that_is_no_number_is_left_out() -> None:
    panel = loss(2.0, math.nan, 1.0, checks={3: math.nan})
    assert panel.line == "0.0,0.0 600.0,75.0"
    assert panel.checks == []


def test_losses_of_zero_are_a_line_on_the_axis() -> None:
    assert loss(0.0, 0.0).line == "0.0,150.0 600.0,150.0"


def test_troubles_stand_where_they_were_seen_and_validations_are_joined() -> None:
    panel = loss(2.0, 1.0, 1.0, issues=[SPIKE, dataclasses.replace(SPIKE, step=0)], checks={2: 0.5, 3: 1.0})
    assert panel.marks == [(300.0, SPIKE.line), (0.0, dataclasses.replace(SPIKE, step=0).line)]
    assert [each.line for each in panel.checks] == ["300.0,112.5 600.0,75.0"]


def test_each_validation_set_has_a_line_and_a_colour_until_these_begin_again() -> None:
    told = [
        dataclasses.replace(
            step, eval_loss=1.0, metrics={"exact_match": 1.0, **{f"eval_loss_{n}": 2.0 for n in range(6)}}
        )
        for step in steps(2.0, 1.0)
    ]
    checks = charts.curves(told)[0].checks
    assert [each.name for each in checks] == ["eval_loss", *(f"eval_loss_{n}" for n in range(6))]
    assert [each.number for each in checks] == [0, 1, 2, 3, 4, 5, 0]
    assert {each.line for each in checks[1:]} == {"0.0,0.0 600.0,0.0"}
    style = files("framework_plugins.report").joinpath("style.css").read_text(encoding="utf-8")
    assert all(f".check-{number} {{" in style for number in range(charts.COLOURS))


def test_a_step_that_is_reported_again_is_drawn_once() -> None:
    reported = steps(2.0, 1.0, 0.5)
    panel = charts.curves([*reported, dataclasses.replace(reported[-1], eval_loss=1.5)])[0]
    assert panel.line == "0.0,0.0 300.0,75.0 600.0,112.5"
    assert [each.dots for each in panel.checks] == [[(600.0, 37.5, "step 3: eval_loss 1.5000")]]


def test_many_steps_are_averaged() -> None:
    points = [tuple(map(float, point.split(","))) for point in loss(*[1.0, 3.0] * 5000).line.split()]
    assert len(points) <= charts.MAX_POINTS
    assert {y for _, y in points} == {0.0}
    assert points[-1][0] == 600.0


@given(highest=st.floats(1e-8, 1e8), most=st.integers(2, 6))
def test_ticks_are_a_few_round_values_up_to_the_highest(highest: float, most: int) -> None:
    found = charts.ticks(highest, most)
    assert 1 <= len(found) <= most
    assert all(0 < value <= highest * (1 + 1e-6) for value in found)
    assert found[0] > highest / (most + 1) * 0.999
    assert len(f"{found[-1]:g}") <= 7
