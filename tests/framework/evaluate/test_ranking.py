"""Which of several systems is the best on the same items."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from framework.api.records import Measure, MeasureKind, Standing
from framework.api.schema import VerdictConfig
from framework.evaluate.ranking import align, rank

CONFIG = VerdictConfig(resamples=999)


def scores(items: Sequence[float | None], **more: object) -> Measure:
    known = [item for item in items if item is not None]
    value = sum(known) / len(known)
    plain = Measure(value, [*items], higher_is_better=True, kind=MeasureKind.content)
    return replace(plain, **more)  # type: ignore[arg-type]


def right(count: int, of: int = 30) -> Measure:
    return scores([1.0] * count + [0.0] * (of - count))


def test_what_beats_each_other_point_is_the_best_and_its_lead_is_that_over_the_second() -> None:
    found = rank([[right(5)], [right(28)], [right(16)]], CONFIG)
    assert (found.leader, found.clear) == (1, True)
    assert [point.standing for point in found.points] == [Standing.worse, Standing.best, Standing.worse]
    assert found.lead_low is not None
    assert found.lead_high is not None
    assert 0 < found.lead_low < 12 / 30 < found.lead_high
    low, high = found.points[1].low, found.points[1].high
    alone = rank([[right(28)]], CONFIG).points[0]
    assert low is not None
    assert high is not None
    assert alone.low is not None
    assert low < alone.low < 28 / 30 < high <= 1


def test_without_a_clear_difference_none_is_the_best_and_what_is_far_behind_is_worse() -> None:
    found = rank([[right(5)], [right(26)], [right(25)]], CONFIG)
    assert (found.leader, found.clear) == (1, False)
    assert [point.standing for point in found.points] == [Standing.worse, Standing.tied, Standing.tied]


def test_a_lower_loss_is_better_and_its_lead_is_positive() -> None:
    base = np.linspace(1, 2, 40)
    losses = [
        scores((base + shift).tolist(), higher_is_better=False, kind=MeasureKind.loss, weights=[3.0] * 40)
        for shift in (0.0, -0.3 + 0.02 * np.sin(base * 9))
    ]
    found = rank([[one] for one in losses], CONFIG)
    assert (found.leader, found.clear) == (1, True)
    assert found.lead_low is not None
    assert 0.2 < found.lead_low < 0.3


@pytest.mark.parametrize("kind", [MeasureKind.content, MeasureKind.loss])
def test_all_ties_are_no_winner(kind: MeasureKind) -> None:
    found = rank([[scores([0.5, 1.0, 0.0, 1.0] * 5, kind=kind)] for _ in range(4)], CONFIG)
    assert not found.clear
    assert {point.standing for point in found.points} == {Standing.tied}


def test_one_item_tells_nothing() -> None:
    found = rank([[scores([1.0])], [scores([0.0])]], CONFIG)
    assert not found.clear
    assert [(point.low, point.high) for point in found.points] == [(None, None)] * 2


def test_clusters_count_and_not_their_items() -> None:
    clusters = [number // 10 for number in range(30)]
    points = [[scores([float(one)] * 20 + [0.5] * 10, clusters=clusters)] for one in (0, 1)]
    assert not rank(points, CONFIG).clear
    assert rank([[replace(seeds[0], clusters=[])] for seeds in points], CONFIG).clear


def test_seeds_that_differ_more_than_the_points_widen_every_interval() -> None:
    def seeds(*counts: int) -> list[Measure]:
        return [right(count) for count in counts]

    apart, close = rank([seeds(10, 26), seeds(29, 21)], CONFIG), rank([seeds(18, 18), seeds(25, 25)], CONFIG)
    assert [point.value for point in apart.points] == [point.value for point in close.points]
    assert (apart.clear, close.clear) == (False, True)
    assert apart.freedom == 2
    assert apart.spread is not None
    assert apart.points[0].spread == pytest.approx(16 / 30 / 2**0.5)
    assert [point.trials for point in apart.points] == [[0, 1], [2, 3]]


def test_trials_are_compared_over_the_items_that_all_have() -> None:
    where = [f"a:{number}" for number in range(20)]
    whole = scores([1.0] * 20, where=where)
    reversed_ = scores([*map(float, range(20))], where=where[::-1])
    first = scores([0.0] * 12, where=where[:12])
    other = scores([1.0] * 20, where=[f"b:{number}" for number in range(20)])
    lacking = scores([None, *[1.0] * 19], where=where)
    empty = scores([None, None, None, *[1.0] * 17], where=where)
    endless = scores([float("nan"), *[1.0] * 19], where=where)
    found, reasons, notes = align(dict(enumerate([whole, reversed_, first, other, lacking, empty, endless])))
    assert found.keys() == {0, 1, 2, 4}
    assert {len(one.items) for one in found.values()} == {11}
    assert reasons == {
        3: "it was measured on other items",
        5: "3 of its 20 items have no score",
        6: "a value of it is not a finite number",
    }
    assert notes == ["1 item without a score in some trial is left out"]
    assert sorted(one for one in found[1].items if one is not None) == [*map(float, range(8, 19))]


def test_an_item_that_occurs_twice_is_one_cluster_and_other_tokens_are_another_item() -> None:
    where = ["a:1", "a:1", "a:2"]
    one = scores([1.0, 0.0, 1.0], where=where, weights=[2.0, 2.0, 3.0])
    other = replace(one, weights=[2.0, 2.0, 4.0])
    found, reasons, _ = align({0: one, 1: one, 2: other})
    assert [len(set(measure.clusters)) for measure in found.values()] == [2, 2]
    assert reasons == {2: "it was measured on other items"}
    once = align({0: one, 1: replace(one, items=one.items[1:], weights=one.weights[1:], where=where[1:])})[0]
    assert [measure.items for measure in once.values()] == [[1.0, 1.0], [0.0, 1.0]]


def test_measures_without_items_are_not_compared() -> None:
    assert align({0: Measure(1.0)}) == ({}, {0: "its items are not stored"}, [])
