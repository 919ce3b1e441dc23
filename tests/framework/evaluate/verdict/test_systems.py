"""framework/evaluate/verdict/systems.py: several systems at once, with intervals and p-values that allow for that."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from framework.api.records import Aspect, Change, EvalResult, Measure, MeasureKind, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import Comparison, compare, compare_systems
from framework.evaluate.verdict.compare import holm

CONFIG = VerdictConfig(resamples=999)


def measured(items: Sequence[float], kind: MeasureKind = MeasureKind.content, *, up: bool = True) -> Measure:
    return Measure(sum(items) / len(items), [*items], higher_is_better=up, kind=kind)


def right(number: int, count: int = 40) -> Measure:
    return measured([1.0] * number + [0.0] * (count - number))


def test_two_systems_in_one_measure_are_compared_as_a_verdict_does() -> None:
    one, other = right(10), right(20)
    (found,) = compare_systems({"a": {"x": one}, "b": {"x": other}}, CONFIG)
    verdict = compare(EvalResult({"x": one}), EvalResult({"x": other}), CONFIG)["x"]
    assert (found.measure, found.one, found.other, found.p_value) == ("x", "a", "b", verdict.p_value)
    assert (found.change.low, found.change.high) == (verdict.low, verdict.high)
    assert found.change.outcome is Outcome.better is verdict.outcome


def test_each_system_meets_the_one_that_is_named_or_all_meet_all() -> None:
    systems = {name: {"x": right(20), "y": right(10)} for name in "abc"}
    against = compare_systems(systems, CONFIG, against="b")
    assert [(one.measure, one.one, one.other) for one in against] == [
        ("x", "b", "a"), ("x", "b", "c"), ("y", "b", "a"), ("y", "b", "c"),
    ]  # fmt: skip
    assert len(compare_systems(systems, CONFIG)) == 6


def test_the_p_values_are_holms_and_the_intervals_those_of_all_comparisons_together() -> None:
    nine_gains = measured([0.0] + [1.0] * 18 + [0.0] * 81)  # and one loss
    systems = {
        "a": {"x": right(10, 100)},
        "b": {"x": nine_gains},
        "c": {"x": right(40, 100)},
        "d": {"x": right(10, 100)},
    }
    found = compare_systems(systems, CONFIG, against="a")
    assert [one.change.p_value for one in found] == holm([one.p_value or 0.0 for one in found])
    (alone,) = compare_systems({"a": systems["a"], "c": systems["c"]}, CONFIG)
    assert _width(found[1].change) > 1.15 * _width(alone.change)
    # p = .021 is enough for the second of three by Holm (.025), and not at the confidence of the intervals (.0167).
    assert [one.change.outcome for one in found] == [Outcome.better, Outcome.better, Outcome.no_worse]
    assert found[0].change.low == 0 < (found[0].change.high or 0)


@pytest.mark.parametrize("kind", [MeasureKind.content, MeasureKind.loss])
def test_the_test_and_the_interval_of_several_systems_agree(kind: MeasureKind) -> None:
    systems = {
        str(shift): {"x": measured([3.0 + 0.1 * (number % 7) * shift + number % 5 for number in range(30)], kind)}
        for shift in range(6)
    }
    for one in compare_systems(systems, CONFIG, against="0"):
        _agree(one)


def test_what_is_neither_better_nor_worse_is_not_among_the_comparisons_that_are_corrected_for() -> None:
    one = {"x": right(10), "copied": Measure(0.1, [0.1] * 40, aspect=Aspect.copying), "value": Measure(3.0)}
    found = compare_systems({"a": one, "b": one | {"x": right(16)}}, CONFIG)
    assert [each.change.p_value == each.p_value for each in found] == [True, True, True]
    assert [each.change.outcome is None for each in found] == [False, True, True]


def _agree(one: Comparison) -> None:
    change = one.change
    assert change.low is not None
    assert change.high is not None
    significant = (change.p_value or 0.0) <= 0.05
    assert significant == (not change.low < 0 < change.high)
    assert significant == (change.outcome in {Outcome.better, Outcome.worse})


def _width(change: Change) -> float:
    return (change.high or 0.0) - (change.low or 0.0)
