"""decide/calibration.py: against numbers that are known, and against the truth of made-up models."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from framework_plugins.decide import calibration
from framework_plugins.lib.promise import safe_threshold

Array = NDArray[np.float64]


def drawn(
    count: int, seed: int, *, sharpness: float = 1.0, options: int = 3, spread: float = 2.0
) -> tuple[Array, NDArray[np.int64]]:
    """Return log-probabilities, and labels that are drawn from them at the temperature `sharpness`."""
    draw = np.random.default_rng(seed)
    log_probs = draw.normal(0, spread, (count, options))
    shares = calibration.probabilities(log_probs, sharpness)
    right = (shares.cumsum(1) < draw.random((count, 1))).sum(1)
    return log_probs, np.minimum(right, options - 1)


def test_the_temperature_of_the_labels_is_found() -> None:
    for sharpness in (0.5, 1.0, 3.0):
        log_probs, right = drawn(20_000, 1, sharpness=sharpness)
        assert calibration.fit_temperature(log_probs, right) == pytest.approx(sharpness, rel=0.05)
    few = drawn(calibration.LEAST_FITTED - 1, 1, sharpness=3)
    assert calibration.fit_temperature(*few) == 1.0


def test_a_temperature_makes_the_log_score_and_the_calibration_error_of_other_rows_better() -> None:
    fitted, measured = drawn(1000, 2, sharpness=3), drawn(2000, 3, sharpness=3)
    temperature = calibration.fit_temperature(*fitted)
    log_probs, right = measured
    correct = np.asarray(log_probs.argmax(1) == right, float)
    errors, scores = [], []
    for value in (1.0, temperature):
        shares = calibration.probabilities(log_probs, value)
        errors.append(calibration.calibration_error(shares.max(1), correct))
        scores.append(calibration.log_scores(log_probs, right, value).mean())
    assert errors[1] < 0.04 < errors[0]
    assert scores[1] > scores[0] + 0.1


def test_options_that_a_row_does_not_have_get_nothing() -> None:
    log_probs = np.array([[-1.0, -2.0, -np.inf], [-1.0, -1.0, -1.0]])
    shares = calibration.probabilities(log_probs, 2.0)
    assert shares[0].tolist() == pytest.approx([1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(0.5)), 0])
    assert calibration.brier_scores(shares, np.array([0, 2])).tolist() == pytest.approx([
        2 * shares[0, 1] ** 2, 2 / 9 + 4 / 9,
    ])  # fmt: skip


def test_the_error_by_chance_is_what_a_calibrated_model_shows() -> None:
    log_probs, right = drawn(400, 5)
    sure = calibration.probabilities(log_probs).max(1)
    correct = np.asarray(log_probs.argmax(1) == right, float)
    low, high, chance = calibration.error_interval(sure, correct)
    assert low < high
    assert 0.02 < chance < 0.06
    assert calibration.calibration_error(sure, correct) == pytest.approx(chance, abs=0.03)


@pytest.mark.parametrize("max_error", [0.05, 0.1])
def test_a_promise_is_kept_as_often_as_it_says_against_the_truth(max_error: float) -> None:
    """The error of a threshold is known here: the probabilities are true, at a temperature that nobody is given."""
    kept, answered = 0, []
    draws, population = 200, drawn(20_000, 11, sharpness=1.3, options=2, spread=4)[0]
    truth = calibration.probabilities(population, 1.3)
    sure, wrong = calibration.probabilities(population).max(1), 1 - truth.max(1)
    draw = np.random.default_rng(12)
    for _ in range(draws):
        rows = draw.integers(0, len(population), 600)
        threshold = safe_threshold(sure[rows], draw.random(600) < wrong[rows], max_error, 0.95)
        chosen = sure >= (2.0 if threshold is None else threshold)
        answered.append(chosen.mean())
        kept += bool(not chosen.any() or wrong[chosen].mean() <= max_error)
    assert kept >= 0.93 * draws  # 95 %, and a standard error of 200 draws below it
    assert np.mean(answered) > 0.2
