"""A validation loss that rises while the training loss falls."""

from __future__ import annotations

import math

import pytest

from tests.support.curves import entries, falling, kinds, seen

LOSSES = falling(60, noise=0.0)


def every(count: int, *losses: float) -> dict[int, float]:
    return {count * number: loss for number, loss in enumerate(losses, start=1)}


def test_one_large_rise_is_enough() -> None:
    (issue,) = seen(entries(LOSSES, checks=every(20, 1.0, 0.8, 0.95)))
    assert (issue.step, issue.kind) == (60, "rising_eval_loss")
    assert issue.text.startswith("the validation loss rose from 0.8 at step 40 to 0.95, while the training loss went")
    assert issue.recommendation.startswith(
        "The rows are memorized: fewer than 3 epochs, trainer.early_stopping_patience=2"
    )


def test_small_rises_have_to_continue() -> None:
    assert kinds(entries(LOSSES, checks=every(10, 1.0, 0.8, 0.83, 0.79, 0.83, 0.79))) == []
    assert kinds(entries(LOSSES, checks=every(10, 0.8, 0.83, 0.86, 0.89, 0.92, 0.95))) == [
        (step, "rising_eval_loss") for step in (40, 50, 60)
    ]


def test_a_rise_within_the_scatter_of_the_validations_is_none() -> None:
    noise = every(5, 1.0, 0.8, 0.86, 0.75, 0.84, 0.77, 0.86, 0.76, 0.85, 0.78, 0.87)
    assert kinds(entries(LOSSES, checks=noise)) == []
    assert kinds(entries(LOSSES, checks={**noise, 60: 1.3})) == [(60, "rising_eval_loss")]


def test_a_validation_loss_that_is_not_a_number_is_reported() -> None:
    (issue,) = seen(entries(LOSSES, checks=every(30, 1.0, math.nan)))
    assert (issue.step, issue.kind, issue.text) == (60, "rising_eval_loss", "the validation loss is nan")


@pytest.mark.parametrize(
    "checks",
    [
        every(10, 1.0, 0.8, 0.81, 0.805, 0.81, 0.808),
        every(10, 0.01, 0.002, 0.004, 0.006, 0.009, 0.011),  # all is known
        every(10, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5),
        every(60, 1.0),
    ],
)
def test_what_is_no_rise(checks: dict[int, float]) -> None:
    assert kinds(entries(LOSSES, checks=checks)) == []


def test_where_the_training_loss_rises_too_the_rows_are_not_learned_by_heart() -> None:
    losses = [*falling(40, noise=0.0), *[1.0] * 20]
    (issue,) = seen(entries(losses, checks=every(20, 1.0, 0.8, 1.5)), "health.rising_loss=ignore")
    assert issue.recommendation.startswith("The training loss rose too. The learning rate is too high: lower")
