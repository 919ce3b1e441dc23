"""Which validation is the best, when patience ends, and when there is a validation at all."""

from __future__ import annotations

import dataclasses
import math

import pytest

from framework.api.schema import TrainerConfig
from framework.monitor.early_stopping import BestValidation
from tests.support.curves import entries

BLANK = entries([1.0])[0]


def looked(best: BestValidation, *values: float | None) -> list[bool]:
    steps = (dataclasses.replace(BLANK, step=n, eval_loss=value) for n, value in enumerate(values, start=1))
    return [best.improves(step) for step in steps]


def test_the_lowest_validation_loss_is_the_best() -> None:
    best = BestValidation("eval_loss", None)
    assert looked(best, None, 2.0, 1.0, 1.0, 1.5, 0.5) == [False, True, True, False, False, True]
    assert (best.step, best.value, best.stop_reason) == (6, 0.5, "")


def test_of_a_metric_it_is_the_highest_where_higher_is_better() -> None:
    best = BestValidation("exact_match", 2)
    best.higher_is_better = True
    values = [0.1, 0.4, 0.3, 0.4]
    steps = [
        dataclasses.replace(BLANK, step=n, eval_loss=9.0 - n, metrics={"exact_match": v}) for n, v in enumerate(values)
    ]
    assert [best.improves(step) for step in steps] == [True, True, False, False]
    assert best.stop_reason == "early stopping: exact_match was 0.4 at step 1, and not better in 2 validations since"


def test_patience_counts_validations_in_a_row_and_not_steps() -> None:
    best = BestValidation("eval_loss", 2)
    looked(best, 1.0, None, 1.1, None, 0.9, None, 1.0, None)
    assert best.stop_reason == ""
    looked(best, 0.95)
    assert best.stop_reason.startswith("early stopping: eval_loss was 0.9 at step 5")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_validation_that_is_no_number_is_never_the_best(value: float) -> None:
    best = BestValidation("eval_loss", 1)
    assert looked(best, value) == [False]
    assert (best.step, best.value) == (None, None)
    assert best.stop_reason == "early stopping: eval_loss was not a number in 1 validation"


@pytest.mark.parametrize(
    ("eval_steps", "total", "steps"),
    [
        (None, 30, [10, 20, 30]),
        (None, 25, [10, 20, 25]),
        (None, 10, []),  # the evaluation after the training is enough
        (None, 7, []),
        (4, 10, [4, 8, 10]),
        (4, 8, [4, 8]),
        (20, 10, []),
        (1, 3, [1, 2, 3]),
    ],
)
def test_validations_come_at_the_steps_asked_for_and_at_the_end_where_there_was_one(
    eval_steps: int | None, total: int, steps: list[int]
) -> None:
    found: list[int] = []
    for step in range(1, total + 1):
        if TrainerConfig(eval_steps=eval_steps).validation_is_due(step, 10, total, validated=bool(found)):
            found.append(step)
    assert found == steps
