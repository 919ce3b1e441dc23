"""framework/evaluate/verdict/compare.py: better, worse, or no significant difference."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framework.api.records import Aspect, Change, EvalResult, Measure, MeasureKind, Outcome
from framework.api.schema import VerdictConfig
from framework.evaluate.verdict import compare, judge
from framework.evaluate.verdict.compare import holm
from framework.util.shares import least_share
from tests.support.examples import examples

CONFIG = VerdictConfig(resamples=999)
Items = list[float | None]


def measured(items: Items, *, kind: MeasureKind = MeasureKind.content, up: bool = True, **more: object) -> Measure:
    known = [item for item in items if item is not None]
    value = sum(known) / len(known) if known else 0.0
    return replace(Measure(value, items, higher_is_better=up, kind=kind), **more)  # type: ignore[arg-type]


def change(before: Measure, after: Measure, **more: object) -> Change:
    results = [EvalResult({"x": measure}) for measure in (before, after)]
    return compare(results[0], results[1], CONFIG, **more)["x"]  # type: ignore[arg-type]


def shares(right: int, count: int = 20, *, up: bool = True) -> Measure:
    return measured([*[1.0] * right, *[0.0] * (count - right)], up=up)


@pytest.mark.parametrize(
    ("before", "after", "up", "outcome"),
    [
        (0, 20, True, Outcome.better),
        (0, 20, False, Outcome.worse),
        (20, 10, True, Outcome.worse),
        (10, 11, True, Outcome.undecided),
        (10, 10, True, Outcome.undecided),
        (0, 5, True, Outcome.undecided),  # McNemar p = .0625, whatever the number of prompts
        (0, 6, True, Outcome.better),
    ],
)
def test_a_difference_that_is_no_chance_is_reported(before: int, after: int, outcome: Outcome, *, up: bool) -> None:
    found = change(shares(before, up=up), shares(after, up=up))
    assert found.outcome is outcome
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.high
    assert found.low <= (after - before) / 20 <= found.high
    assert found.primary


def test_four_flips_are_no_gain_however_many_prompts_there_are() -> None:
    found = change(shares(1, 200), shares(5, 200))
    assert found.p_value == pytest.approx(0.125)
    assert found.outcome is Outcome.no_worse
    assert found.least == pytest.approx(0.09)


def test_changes_of_dependent_items_that_go_one_way_have_a_bound_well_below_their_mean() -> None:
    """Six of 120 items in 84 clusters: their rate may be as low as the exact bound of 6 of 84."""
    clusters = [*range(84), *range(36)]
    found = change(
        measured([0.0] * 120, clusters=clusters), measured([*[0.0] * 70, *[1.0] * 6, *[0.0] * 44], clusters=clusters)
    )
    assert found.outcome is Outcome.better
    assert found.low == pytest.approx(0.05 * least_share(6, 84, 0.95) * 84 / 6)


def test_no_worse_than_the_margin_takes_enough_prompts() -> None:
    few, many = change(shares(20, 20), shares(20, 20)), change(shares(200, 200), shares(200, 200))
    assert (few.outcome, many.outcome) == (Outcome.undecided, Outcome.no_worse)
    assert few.margin == many.margin == 0.05


def test_what_is_at_its_worst_is_not_called_no_worse() -> None:
    assert change(shares(0, 200), shares(0, 200)).outcome is Outcome.undecided
    assert change(shares(200, 200, up=False), shares(200, 200, up=False)).outcome is Outcome.undecided
    assert change(shares(1, 200), shares(1, 200)).outcome is Outcome.no_worse


def test_an_interval_is_never_without_width_and_agrees_with_the_test() -> None:
    found = change(shares(0), shares(20))
    assert found.low == pytest.approx(0.724, abs=0.001)
    assert found.high == 1.0
    for undecided in (change(shares(0), shares(5)), change(shares(5), shares(0))):  # only six can be no chance
        assert undecided.low is not None
        assert undecided.high is not None
        assert undecided.low <= 0 <= undecided.high


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_loss_that_is_no_number_any_more_is_worse(broken: float) -> None:
    before = measured([2.0] * 20, kind=MeasureKind.loss, up=False)
    after = measured([*[1.0] * 19, broken], kind=MeasureKind.loss, up=False)
    found = change(before, after)
    assert (found.outcome, found.not_finite, found.pairs) == (Outcome.worse, 1, 20)
    assert change(after, before).outcome is Outcome.unknown


def test_answers_without_a_grade_are_counted_against_what_they_could_show() -> None:
    before, graded = measured([4.0] * 20, unit="points"), [5.0] * 8
    found = change(before, measured([*graded, *[None] * 12], unit="points"))
    assert (found.outcome, found.missing, found.pairs) == (Outcome.undecided, 12, 20)
    assert change(before, measured([*[5.0] * 20], unit="points")).outcome is Outcome.better
    few = change(measured([1.0] * 20), measured([*[0.0] * 19, None]))
    assert (few.outcome, few.missing) == (Outcome.worse, 1)  # whatever the last one is
    assert change(before, measured([None] * 20, unit="points", value=4.0)).outcome is Outcome.unknown


def test_one_item_has_no_interval_and_rules_no_loss_out() -> None:
    for up in (True, False):
        found = change(measured([4.0], unit="points", up=up), measured([5.0], unit="points", up=up))
        assert (found.low, found.high, found.outcome) == (None, None, Outcome.undecided)


def test_before_and_after_are_shown_over_the_same_items() -> None:
    found = change(measured([*[0.0] * 10, *[1.0] * 10]), measured([*[0.0] * 10, *[None] * 10]))
    assert (found.before, found.after) == (0.0, 0.0)


def test_what_was_not_asked_does_not_count() -> None:
    asked = [*[1.0] * 6, *[0.0] * 4]
    one, two = (measured([*[value] * 6, *[None] * 4], weights=asked) for value in (0.0, 1.0))
    found = change(one, two)
    assert (found.pairs, found.missing, found.outcome) == (6, 0, Outcome.better)


def test_leaked_prompts_are_left_out_with_their_gain() -> None:
    where = [f"a:{number}" for number in range(20)]
    one, two = measured([0.0] * 20, where=where), measured([*[1.0] * 8, *[0.0] * 12], where=where)
    assert change(one, two).outcome is Outcome.better
    found = change(one, two, leaked=where[:8])
    assert (found.outcome, found.leaked, found.pairs, found.after) == (Outcome.undecided, 8, 12, 0.0)
    assert change(one, two, leaked=where).outcome is Outcome.unknown


def test_items_that_chose_among_weights_have_to_show_more() -> None:
    found = change(shares(0), shares(7), candidates={"x": 10})
    assert found.p_value == pytest.approx(10 * 2 / 2**7)
    assert found.outcome is Outcome.undecided
    assert change(shares(0), shares(7)).outcome is Outcome.better


def test_what_is_left_of_leaked_prompts_keeps_its_weights() -> None:
    places = ["a:1", "a:2", "a:3"]
    losses: tuple[Items, Items] = [4.0, 2.0, 9.0], [2.0, 1.0, 1.0]
    before, after = (
        measured(items, weights=[1.0, 3.0, 5.0], where=places, kind=MeasureKind.loss, up=False) for items in losses
    )
    found = change(before, after, leaked={"a:3"})
    assert (found.before, found.after) == (2.5, 1.25)


def test_a_comparison_with_the_base_needs_no_measure_of_the_base() -> None:
    wins = measured([1.0] * 14 + [0.5] * 4 + [None] * 2, compared=True)
    found = compare(EvalResult({}), EvalResult({"judge_wins": wins}), CONFIG)["judge_wins"]
    assert (found.before, found.missing) == (0.5, 2)
    assert found.after == pytest.approx(16 / 18)
    assert found.outcome is Outcome.better
    assert found.p_value == pytest.approx(2 * 137 / 2**16)  # the two count as lost


def test_the_unit_and_the_least_difference_are_those_of_the_measure_and_the_confidence() -> None:
    grades = [measured([float(grade)] * 20, unit="points") for grade in (4, 6)]
    assert change(*grades).unit == "points"
    sure, less = (
        compare(EvalResult({"x": shares(0)}), EvalResult({"x": shares(2)}), VerdictConfig(confidence=confidence))["x"]
        for confidence in (0.95, 0.8)
    )
    assert sure.least is not None
    assert less.least is not None
    assert less.least < sure.least


def test_like_prompts_count_as_one() -> None:
    clusters = [number // 5 for number in range(20)]
    one, two = measured([0.0] * 20, clusters=clusters), measured([1.0] * 20, clusters=clusters)
    found = change(one, two)
    assert (found.clusters, found.pairs, found.outcome) == (4, 20, Outcome.undecided)
    assert found.p_value == pytest.approx(2 / 2**4)
    same = change(one, one)
    assert (same.p_value, same.outcome) == (1.0, Outcome.undecided)
    assert same.low is not None
    assert same.high is not None
    assert same.low <= 0 <= same.high


def test_a_number_with_a_unit_is_no_share_even_between_0_and_1() -> None:
    falls = [0.01, 0.02, 0.03, 0.04] * 5
    before = measured([0.2] * 20, unit="points", up=False)
    found = change(before, measured([0.2 - fall for fall in falls], unit="points", up=False))
    assert found.margin == pytest.approx(0.05 * 0.2)  # of a share it is five points
    assert found.low is not None
    assert found.high is not None
    assert -0.04 < found.low < -0.025 < found.high < -0.01  # nothing is added for items that were not seen
    # Two-sided at 95%, found in 80% of all samples.
    assert found.least == pytest.approx((found.high - found.low) / 2 * (1.96 + 0.8416) / 1.96, rel=1e-3)


def test_holm_allows_for_the_number_of_measures() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    one, two = shares(0), shares(6)  # p = .031
    secondary = {name: replace(one, kind=MeasureKind.form) for name in "abc"}
    after = {name: replace(two, kind=MeasureKind.form) for name in "abc"}
    changes = compare(EvalResult({"x": one, **secondary}), EvalResult({"x": two, **after}), CONFIG)
    assert changes["x"].outcome is Outcome.better  # the primary measure pays nothing for the others
    assert {changes[name].outcome for name in "abc"} == {Outcome.undecided}
    assert {changes[name].low for name in "abc"} == {0}  # and no interval says more than the test


def test_holm_counts_the_measures_of_one_aspect() -> None:
    aspects = {"x": Aspect.task, "general": Aspect.general, "copied": Aspect.copying}
    sides = ({name: replace(shares(right), aspect=aspect) for name, aspect in aspects.items()} for right in (0, 6))
    before, after = (EvalResult(side) for side in sides)
    assert compare(before, after, CONFIG)["general"].outcome is Outcome.better


def test_the_first_measure_of_content_is_primary_unless_another_is_named() -> None:
    loss = measured([1.0] * 8, kind=MeasureKind.loss, up=False)
    form = measured([1.0] * 8, kind=MeasureKind.form)
    both = EvalResult({"eval_loss": loss, "form": form, "a": shares(1, 8), "b": shares(1, 8)})
    assert [name for name, one in compare(both, both, CONFIG).items() if one.primary] == ["a"]
    named = compare(both, both, VerdictConfig(primary="b"))
    assert [name for name, one in named.items() if one.primary] == ["b"]
    by_references = compare(both, both, CONFIG, decides="b")
    assert [name for name, one in by_references.items() if one.primary] == ["b"]
    bare = EvalResult({"eval_loss": loss, "form": form})
    assert not any(one.primary for one in compare(bare, bare, CONFIG).values())


def test_a_change_and_a_copy_are_neither_better_nor_worse() -> None:
    far = change(*(measured([value] * 8, kind=MeasureKind.change, aspect=Aspect.general) for value in (0.0, 0.5)))
    copied = change(*(replace(shares(right), aspect=Aspect.copying) for right in (0, 20)))
    assert (far.outcome, copied.outcome) == (None, None)
    assert far.low is not None


def test_a_perplexity_is_compared_as_a_factor() -> None:
    before, after = ([math.log(value)] * 10 for value in (8.0, 2.0))
    one, two = (
        Measure(math.exp(items[0]), [*items], exponential=True, kind=MeasureKind.loss) for items in (before, after)
    )
    found = change(one, two)
    assert found.outcome is Outcome.better
    assert found.low is not None
    assert found.high is not None
    assert found.low < -6 < found.high < 0


def test_what_one_side_lacks_stands_alone() -> None:
    before = EvalResult({"x": shares(10)})
    after = EvalResult({"y": Measure(1.0, aspect=Aspect.general, unit="nats")})
    changes = compare(before, after, CONFIG)
    assert (changes["x"].before, changes["x"].after, changes["x"].outcome) == (0.5, None, None)
    assert (changes["y"].before, changes["y"].after, changes["y"].aspect) == (None, 1.0, Aspect.general)
    assert compare(None, None, CONFIG) == {}


def test_a_number_without_items_is_not_tested() -> None:
    found = change(Measure(3.0), Measure(1.0))
    assert (found.before, found.after, found.low, found.outcome) == (3.0, 1.0, None, None)


FAILS_TWICE = [0.108, 0.902, 0.873, 0.907, 0.867, 0.777, 0.784, 0.065, 0.917, 0.806, 0.898, 0.798]


@pytest.mark.parametrize("unit", ["", "points"])
def test_a_gain_of_every_answer_is_not_denied_for_its_skew(unit: str) -> None:
    found = change(measured([0.05] * 12, unit=unit), measured([0.05 + gain for gain in FAILS_TWICE], unit=unit))
    assert found.outcome is Outcome.better
    assert found.low is not None
    assert 0.3 < found.low < 0.5


VALUE = st.sampled_from([0.0, 0.0, 1.0, 0.05, 0.3, 0.5, 0.9])


@settings(max_examples=examples(60))
@given(
    items=st.lists(st.tuples(VALUE, VALUE, st.integers(0, 9)), min_size=1, max_size=24),
    confidence=st.sampled_from([0.8, 0.95, 0.999]),
    kind=st.sampled_from([MeasureKind.content, MeasureKind.form, MeasureKind.loss]),
    unit=st.sampled_from(["", "points"]),
    grouped=st.booleans(),
)
def test_test_and_interval_never_contradict_each_other(
    items: list[tuple[float, float, int]], confidence: float, kind: MeasureKind, unit: str, *, grouped: bool
) -> None:
    one, two, numbers = ([*part] for part in zip(*items, strict=True))
    sides = (measured([*side], kind=kind, unit=unit, clusters=numbers if grouped else []) for side in (one, two))
    before, after = (EvalResult({"x": side}) for side in sides)
    found = compare(before, after, VerdictConfig(confidence=confidence, resamples=199))["x"]
    assert found.p_value is not None
    low, high = (-math.inf if found.low is None else found.low), (math.inf if found.high is None else found.high)
    significant = found.p_value <= 1 - confidence
    assert significant is not (low <= 0 <= high)
    assert significant is (found.outcome in {Outcome.better, Outcome.worse})


def test_a_gain_has_to_be_of_content_and_beyond_the_best_constant_answer() -> None:
    base, tuned = shares(0, 60), shares(48, 60)
    said = replace(base, content=shares(46, 60).items)  # the base said it with a full stop
    form = change(said, tuned)
    assert (form.held_back, form.content_after) == ("form", 0.8)
    assert form.content_before == pytest.approx(46 / 60)
    assert form.outcome is Outcome.no_worse
    assert form.p_value is not None
    assert form.p_value < 0.001  # of what was scored
    constant = change(base, replace(tuned, constant="yes", constant_items=shares(45, 60).items, answers=2))
    assert (constant.held_back, constant.constant, constant.answers) == ("constant", 0.75, 2)
    gained = change(base, replace(tuned, constant="yes", constant_items=shares(20, 60).items))
    assert (gained.outcome, gained.held_back) == (Outcome.better, "")
    assert gained.low is not None
    assert gained.beyond is not None
    assert 0.3 < gained.beyond < gained.low  # what is certain is certain beyond the constant
    of_others = change(base, replace(tuned, constant="yes", constant_items=[1.0]))  # of other questions
    assert (of_others.outcome, of_others.constant) == (Outcome.better, None)


@pytest.mark.parametrize(
    ("rival", "held_back", "words"),
    [
        (20, "", "better"),
        (45, "rival", "not shown to be better than a linear model"),
        (60, "beaten", "worse than a linear model"),
    ],
)
def test_a_gain_has_to_exceed_a_rival_that_learned_from_the_same_rows(rival: int, held_back: str, words: str) -> None:
    tuned = replace(shares(48, 60), rival="a linear model", rival_items=shares(rival, 60).items)
    found = change(shares(0, 60), tuned)
    assert (found.held_back, found.rival, found.outcome_text) == (held_back, rival / 60, words)
    assert found.outcome is (Outcome.no_worse if held_back else Outcome.better)
    verdict = judge({"x": found}, (), CONFIG)
    said = f"a linear model, which learned from the same rows, scores {rival / 60:.0%}"
    assert said in (verdict.lines[0] if held_back else " ".join(verdict.more))
    assert ("a linear model" in verdict.summary) is bool(held_back)


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12))
def test_turned_round_better_is_worse(pairs: list[tuple[float, float]]) -> None:
    one, two = (measured([round(value, 3) for value in part]) for part in zip(*pairs, strict=True))
    there, back = change(one, two), change(two, one)
    turned = {Outcome.better: Outcome.worse, Outcome.worse: Outcome.better}
    assert there.p_value == back.p_value
    if there.outcome in turned:
        assert back.outcome is turned[there.outcome]
    else:
        assert back.outcome not in turned


def test_small_gains_everywhere_do_not_outweigh_large_losses_that_may_not_have_been_seen() -> None:
    # With 20 items, one of ten that loses 45 points is missing from 12% of all samples, and the mean is unchanged.
    small = change(measured([0.5] * 20), measured([0.55] * 20))
    assert small.outcome is Outcome.undecided
    assert small.p_value is not None
    assert small.p_value > 0.05
    assert change(measured([0.5] * 60), measured([0.56] * 60)).outcome is Outcome.better
