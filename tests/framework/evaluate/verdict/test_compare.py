"""framework/evaluate/verdict/compare.py: better, worse, or no significant difference."""

from __future__ import annotations

from dataclasses import replace

import pytest

from framework.api.records import Aspect, EvalResult, Measure, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare

CONFIG = VerdictConfig(resamples=500)


def one(value: float, count: int = 20, *, up: bool = True) -> EvalResult:
    right = round(value * count)
    items: list[float | None] = [*[1.0] * right, *[0.0] * (count - right)]
    return EvalResult({"x": Measure(value, items, higher_is_better=up)})


@pytest.mark.parametrize(
    ("before", "after", "up", "outcome"),
    [
        (0.0, 1.0, True, Outcome.better),
        (0.0, 1.0, False, Outcome.worse),
        (1.0, 0.5, True, Outcome.worse),
        (0.5, 0.55, True, Outcome.undecided),
        (0.5, 0.5, True, Outcome.undecided),
    ],
)
def test_a_difference_beyond_chance_is_told(before: float, after: float, outcome: Outcome, *, up: bool) -> None:
    change = compare(one(before, up=up), one(after, up=up), [], CONFIG)["x"]
    assert change.outcome is outcome
    assert change.low is not None
    assert change.high is not None
    assert change.low <= after - before <= change.high


@pytest.mark.parametrize(("count", "outcome"), [(1, Outcome.undecided), (5, Outcome.undecided), (6, Outcome.better)])
def test_a_few_prompts_tell_nothing(count: int, outcome: Outcome) -> None:
    assert compare(one(0.0, count), one(1.0, count), [], CONFIG)["x"].outcome is outcome


def test_a_change_that_a_random_adapter_makes_too_is_noise() -> None:
    before, after = one(0.2), one(0.7)
    assert compare(before, after, [one(0.3)], CONFIG)["x"].outcome is Outcome.better
    change = compare(before, after, [one(0.3), one(0.8)], CONFIG)["x"]
    assert change.outcome is Outcome.undecided
    assert change.null == pytest.approx(0.6)


def test_what_one_side_lacks_stands_alone() -> None:
    before, after = one(0.5), replace(one(0.5), measures={"y": Measure(1.0, aspect=Aspect.general, unit="nats")})
    changes = compare(before, after, [], CONFIG)
    assert (changes["x"].before, changes["x"].after, changes["x"].outcome) == (0.5, None, None)
    assert (changes["y"].before, changes["y"].after, changes["y"].aspect) == (None, 1.0, Aspect.general)
    assert compare(None, None, [], CONFIG) == {}


def test_a_number_without_items_is_not_told_from_chance() -> None:
    bare = [EvalResult({"x": Measure(value)}) for value in (3.0, 1.0)]
    change = compare(bare[0], bare[1], [], CONFIG)["x"]
    assert (change.before, change.after, change.low, change.outcome) == (3.0, 1.0, None, None)
