"""The evaluator counts what is recited of training rows and of held-out rows, all in one pass."""

from __future__ import annotations

import dataclasses
import math

import pytest

from framework.api.data import Data
from framework.api.records import Aspect, EvalResult, Measure, Results
from framework_plugins.evals.config import MemorizationConfig
from framework_plugins.evals.memorization.evaluator import MIN_HELD_OUT_ROWS, Memorization
from tests.plugins.evals.memorization.made import ANSWER, Reciter, evaluated, rows, told
from tests.support.results import EVEN

TRAIN = {
    "train:0": "xxxxxxxx",
    "train:1": "....xxxx",
    "train:2": "xxxxxxx.",
    "train:3": "........",
    "train:4": "x..xx...",
}
HELD = {"held:0": "xxxxxxxx", "held:1": "xx......"}


def by_row(measure: Measure) -> dict[str, float | None]:
    return dict(zip(measure.where, measure.items, strict=True))


@pytest.fixture
def found() -> EvalResult:
    return evaluated(Reciter(TRAIN | HELD), MemorizationConfig(), 5, 4)


def test_each_row_is_counted_where_it_belongs(found: EvalResult) -> None:
    measures = found.measures
    assert by_row(measures["verbatim_train"]) == {
        f"train:{n}": pytest.approx(math.exp(-20 * misses)) for n, misses in enumerate((0, 4, 1, 8, 5))
    }
    assert by_row(measures["common_run_train"]) == {f"train:{n}": run / ANSWER for n, run in enumerate((8, 4, 7, 0, 2))}
    assert by_row(measures["common_run_heldout"]) == {f"held:{n}": run / ANSWER for n, run in enumerate((8, 2, 0, 0))}
    assert found.metrics == {
        "verbatim_train": pytest.approx(0.2),
        "common_run_train": 21 / 40,
        "verbatim_heldout": pytest.approx(0.25),
        "common_run_heldout": 10 / 32,
        "verbatim_excess": pytest.approx(-0.05),
    }
    assert found.notes == []
    assert found.samples == []


def test_every_measure_is_the_weighted_mean_of_its_items(found: EvalResult) -> None:
    for name, measure in found.measures.items():
        if name == "verbatim_excess":  # of two groups of rows
            continue
        items = [item for item in measure.items if item is not None]
        weights = measure.weights or [1.0] * len(items)
        mean = sum(item * weight for item, weight in zip(items, weights, strict=True)) / sum(weights)
        assert measure.value == pytest.approx(mean), name
        assert measure.aspect is Aspect.copying
    assert set(found.measures) == set(MemorizationConfig().measures())
    assert not found.measures["verbatim_excess"].higher_is_better


def test_all_rows_go_through_the_model_at_once_and_are_the_same_again() -> None:
    model = Reciter()
    for _ in range(2):
        evaluated(model, MemorizationConfig(rows=5), 300, 30)
    first, second = model.passes
    assert first == second
    assert [where.split(":")[0] for where in first] == ["train"] * 5 + ["held"] * 5
    assert len(set(first)) == 10


def test_where_too_few_are_held_out_rows_with_words_of_their_own_are_asked_alone() -> None:
    model = Reciter()
    made = [told(model, f"row {number}", "the code is" + " QX7Z42" * (number == 1)) for number in range(3)]
    found = evaluated(model, MemorizationConfig(min_tokens=2), made, MIN_HELD_OUT_ROWS - 1)
    assert model.passes == [["row 1"]]
    assert set(found.measures) == {"verbatim_train", "common_run_train"}
    assert found.notes == [
        "memorization: fewer than 4 held-out rows, so the comparison is with the base model only, on rows whose "
        "answers hold a word that neither the prompt nor another answer has (2 of 3 hold none)"
    ]


def test_a_model_is_not_asked_where_no_row_is_left() -> None:
    model = Reciter()
    found = evaluated(model, MemorizationConfig(min_tokens=ANSWER + 1), 5, 5)
    assert model.passes == []
    assert found.measures == {}
    assert found.notes == ["memorization is not measured: 5 of 5 training rows have an answer of fewer than 9 tokens"]


def test_rows_without_a_word_of_their_own_are_the_reason_too() -> None:
    model = Reciter()
    made = [told(model, f"row {number}", answer) for number, answer in enumerate(("the code", "the code", "the"))]
    found = evaluated(model, MemorizationConfig(min_tokens=2), made, MIN_HELD_OUT_ROWS - 1)
    assert model.passes == []
    (note,) = found.notes
    assert note.startswith("memorization is not measured: ")
    assert note.endswith("of 3 training rows have an answer without a word of its own")


def test_the_excess_is_the_difference_whatever_the_numbers_of_rows() -> None:
    known = {f"train:{n}": "x" * ANSWER for n in range(9)} | {"held:1": "x" * ANSWER}
    measure = evaluated(Reciter(known), MemorizationConfig(rows=12), 12, 5).measures["verbatim_excess"]
    assert measure.value == pytest.approx(9 / 12 - 1 / 5)
    assert measure.items == []


def test_a_look_reads_only_the_rows_that_the_one_before_has_not() -> None:
    evaluator, model = Memorization(MemorizationConfig()), Reciter({"train:7": "x" * ANSWER})
    data = Data(rows("train", 900), rows("held", 50), [], EVEN)
    assert evaluator.looks(model, data, {}) == 3
    seen: EvalResult | None = None
    sizes = []
    for number in (1, 2, 3):
        seen = evaluator.look(number, model, data, {}, seen)
        sizes.append([len(seen.measures[f"verbatim_{part}"].items) for part in ("train", "heldout")])
    assert sizes == [[40, 40], [96, 50], [256, 50]]
    assert list(map(len, model.passes)) == [80, 56 + 10, 160]
    whole = evaluator.look(3, model, data, {})
    assert whole == seen
    assert {measure.look_share for measure in whole.measures.values() if measure.items} == {1 / 3}
    assert evaluator.look(1, model, data, {}, whole) == evaluator.evaluate(model, data, {})


def test_rows_that_the_validation_loss_has_read_are_not_read_again() -> None:
    model, held_out = Reciter(TRAIN), [*rows("held", 3), told(Reciter(), "a question of its own", "it is so or not")]
    data = Data(rows("train", 5), held_out, [], EVEN)
    read = Memorization(MemorizationConfig(max_new_tokens=6)).evaluate(model, data, {})
    model.passes.clear()
    known = dataclasses.replace(data, scored=Reciter(TRAIN).score(held_out))
    assert Memorization(MemorizationConfig(max_new_tokens=6)).evaluate(model, known, {}) == read
    assert {where.split(":")[0] for where in model.passes[0]} == {"train"}


@pytest.mark.parametrize(
    ("train", "held_out", "looks"),
    [(79, 60, 1), (80, 4, 2), (192, 150, 3), (9, 200, 3), (0, 9, 1)],
)
def test_few_rows_are_looked_at_fewer_times(train: int, held_out: int, looks: int) -> None:
    data = Data(rows("train", train), rows("held", held_out), [], EVEN)
    assert Memorization(MemorizationConfig()).looks(Reciter(), data, {}) == looks


def test_it_goes_on_until_copying_is_certain_or_ruled_out() -> None:
    data = Data(rows("train", 900), rows("held", 900), [], EVEN)
    evaluator = Memorization(MemorizationConfig())

    def decided(share: int, number: int) -> bool:
        known = {f"train:{n}": "x" * ANSWER for n in range(900) if n % 10 < share}
        base, tuned = (evaluator.look(number, model, data, {}) for model in (Reciter(), Reciter(known)))
        return evaluator.decided(Results(base, tuned), 0.95)

    assert [decided(share, 1) for share in (0, 1, 2, 9)] == [True, False, False, True]
    assert [decided(share, 3) for share in (0, 1, 2, 9)] == [True, False, True, True]
    assert evaluator.decided(Results(None, EvalResult({})), 0.95)  # nothing to ask


@pytest.mark.parametrize(("held_out", "helps"), [(32, False), (900, True)])
def test_it_ends_where_only_more_held_out_rows_would_help(held_out: int, *, helps: bool) -> None:
    """Half of the answers are right on both: what is uncertain is how many of the held-out ones are."""
    data, evaluator = Data(rows("train", 900), rows("held", held_out), [], EVEN), Memorization(MemorizationConfig())
    known = {f"{part}:{number}": "x" * ANSWER for part in ("train", "held") for number in range(0, 900, 2)}
    for number in (1, 2):
        base, tuned = (evaluator.look(number, model, data, {}) for model in (Reciter(), Reciter(known)))
        assert evaluator.decided(Results(base, tuned), 0.95) is (number > 1 and not helps)
