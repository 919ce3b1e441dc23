"""decide/evaluator.py: what one part of the rows fits is measured on the other, and too few rows are refused."""

from __future__ import annotations

import numpy as np
import pytest

from framework.api.records import EvalResult, Message, Prompt
from framework_plugins.decide import calibration
from framework_plugins.decide.config import PREFIX, DecideEvaluatorConfig
from framework_plugins.decide.evaluator import Decide, Decisions, _split
from framework_plugins.decide.scoring import OptionScores
from tests.plugins.decide.test_calibration import drawn

NAMES = ("late", "broken", "other")


def evaluated(
    count: int, *, sharpness: float = 2.0, copies: int = 1, **settings: float
) -> tuple[Decisions, EvalResult]:
    """Return the decisions of a made-up model on rows of which the first half is fitted."""
    log_probs, right = drawn(count, 7, sharpness=sharpness, spread=5)
    prompts = [
        Prompt((Message("user", f"Row {number}"),), NAMES[label], where=f"rows:{number}", options=NAMES)
        for number, label in enumerate(right)
    ]
    scores = OptionScores([NAMES] * count, log_probs - 3)
    decisions = Decisions(DecideEvaluatorConfig(**settings), scores, right, scale=True, linear=drawn(count, 8)[0])
    fitted = np.arange(count // 2)
    decisions.fit(fitted, (fitted // copies).tolist())
    measured = np.arange(count // 2, count)
    return decisions, decisions.result([prompts[number] for number in measured], measured, measured.tolist())


def test_the_measures_are_of_the_rows_that_nothing_was_fitted_to() -> None:
    decisions, result = evaluated(2000, max_error=0.1)
    log_probs, right = drawn(2000, 7, sharpness=2.0, spread=5)
    measured, answers = log_probs[1000:], right[1000:]
    correct = measured.argmax(1) == answers
    value = {name.removeprefix(PREFIX): number for name, number in result.metrics.items()}
    assert value["accuracy"] == pytest.approx(correct.mean())
    assert value["temperature"] == calibration.fit_temperature(log_probs[:1000], right[:1000])
    assert value["temperature"] == pytest.approx(2, rel=0.15)
    shares = calibration.probabilities(measured, value["temperature"])
    assert value["brier"] == pytest.approx(((shares - np.eye(3)[answers]) ** 2).sum(1).mean())
    sure = calibration.probabilities(measured).max(1)
    above = sure >= value["threshold"]
    assert value["answered"] == pytest.approx(above.mean())
    assert 0.3 < value["answered"] < 1
    assert value["wrong"] == pytest.approx(1 - correct[above].mean())
    assert {*result.measures} <= {*decisions.config.measures()}
    accuracy = result.measures[f"{PREFIX}accuracy"]
    assert accuracy.where[0] == "rows:1000"
    majority = NAMES[np.bincount(answers).argmax()]
    assert accuracy.constant == majority
    assert accuracy.constant_items == [float(NAMES[label] == majority) for label in answers]
    assert result.notes == []
    linear = drawn(2000, 8)[0][1000:]
    assert accuracy.rival_items == (linear.argmax(1) == answers).astype(float).tolist()
    assert value["distance"] == pytest.approx(np.abs(measured.argmax(1) - answers).mean())
    # The linear model has a temperature of its own.
    brier = result.measures[f"{PREFIX}brier"].rival_items
    own = calibration.fit_temperature(drawn(2000, 8)[0][:1000], right[:1000])
    expected = calibration.brier_scores(calibration.probabilities(linear, own), answers)
    assert brier == pytest.approx(expected.tolist())


def test_the_tables_count_labels_confusions_and_the_rows_of_each_probability() -> None:
    _, result = evaluated(2000, max_error=0.1)
    reliability, labels, confusions = result.tables
    log_probs, right = drawn(2000, 7, sharpness=2.0, spread=5)
    log_probs, right = log_probs[1000:], right[1000:]
    decided = log_probs.argmax(1)
    for name, rows, hit, chosen, precise in labels.rows:
        label = NAMES.index(str(name))
        assert (rows, chosen) == (f"{(right == label).sum():,}", f"{(decided == label).sum():,}")
        assert hit == pytest.approx((decided[right == label] == label).mean())
        assert precise == pytest.approx((right[decided == label] == label).mean())
    first = confusions.rows[0]
    pair = NAMES.index(str(first[0])), NAMES.index(str(first[1]))
    wrong = (right == pair[0]) & (decided == pair[1])
    assert first[2] == f"{wrong.sum():,}"
    example = int(str(first[3]).removeprefix("Row ")) - 1000
    sure = calibration.probabilities(log_probs, result.metrics[f"{PREFIX}temperature"]).max(1)
    assert wrong[example]
    assert first[4] == pytest.approx(sure[wrong].max())
    assert len(reliability.rows) == calibration.BINS
    assert reliability.drawn
    assert sum(int(str(row[4])) for row in reliability.rows) == 1000
    hits = sum(float(row[1] or 0) * int(str(row[4])) for row in reliability.rows)
    assert hits == pytest.approx((right == decided).sum())
    assert all(float(low or 0) <= float(hit or 0) <= float(high or 0) for _, hit, low, high, _ in reliability.rows)


def test_a_label_that_is_mostly_wrong_is_noted_with_what_it_is_taken_for() -> None:
    log_probs, right = np.log(np.array([[0.6, 0.3, 0.1]] * 60)), np.array([0, 1, 2] * 20)
    prompts = [Prompt((Message("user", "Row"),), NAMES[label], options=NAMES) for label in right]
    result = Decisions(DecideEvaluatorConfig(), OptionScores([NAMES] * 60, log_probs), right).result(
        prompts, np.arange(60), [*range(60)]
    )
    assert result.notes == [
        f"decide: '{label}' is right in 0 of 20 rows, and decided as 'late' in 20" for label in NAMES[1:]
    ]


def test_a_promise_that_the_rows_are_too_few_for_is_refused_with_how_many_it_takes() -> None:
    decisions, result = evaluated(100)
    assert decisions.threshold is None
    assert any("by 50 different rows: it takes 59 without an error, 118 held-out rows" in note for note in result.notes)
    assert f"{PREFIX}threshold" not in result.measures
    assert any("by 50 different rows" in note for note in evaluated(200, copies=2)[1].notes)


def test_a_promise_that_no_threshold_keeps_is_refused() -> None:
    decisions, result = evaluated(1000, sharpness=20.0)
    assert decisions.threshold is None
    assert any("is not shown for any threshold by 500 rows" in note for note in result.notes)


def test_similar_rows_are_on_one_side() -> None:
    clusters = [number // 3 for number in range(300)]
    fitted, measured = _split(clusters, 0.4)
    assert sorted([*fitted, *measured]) == [*range(300)]
    assert not {clusters[number] for number in fitted} & {clusters[number] for number in measured}
    assert len(fitted) == pytest.approx(120, abs=3)


def test_rows_without_options_are_reported() -> None:
    assert Decide(DecideEvaluatorConfig()).own_prompts(None) == ()
