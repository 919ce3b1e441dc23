"""A run that forgot is flagged by each sign, with the recommendation; one that did not is reported with its figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from framework import testing
from framework.api.plan import Plan
from framework.api.records import Aspect, Concern, EvalResult, Measure, MeasureKind, Results
from framework.evaluate.verdict import compare
from framework_plugins.evals.forgetting_concern import concerns

FINE = [1.0, 1.0, 1.0, 0.0] * 32


def general(
    right: list[float] = FINE, perplexity: float = 40.0, divergence: float = 0.3, answers: float = 20.0, count: int = 32
) -> EvalResult:
    """An evaluation; the items of a perplexity and of the divergence differ a little, as texts do."""
    sure = [0.1 + 0.8 * one + 0.01 * (-1) ** number for number, one in enumerate(right)]
    wobble = [0.02 * (-1) ** number * (number % 4) for number in range(count)]
    return EvalResult(
        {
            "general_accuracy": measure(fmean(right), [], up=True, kind=MeasureKind.content),
            "general_probability": measure(fmean(sure), sure, up=True, kind=MeasureKind.content),
            "general_answers": perplexities(answers, wobble),
            "general_perplexity": perplexities(perplexity, wobble),
            "general_divergence": measure(
                divergence, [divergence * (1 + one) for one in wobble], kind=MeasureKind.change, unit="nats"
            ),
        }
    )


def perplexities(value: float, wobble: list[float]) -> Measure:
    # What differs between the two models differs by text: base and tuned get other signs.
    items = [math.log(value) + (one if value > 40 else -one) for one in wobble]
    return measure(value, items, kind=MeasureKind.loss, exponential=True)


def measure(value: float, items: list[float], *, up: bool = False, **more: Any) -> Measure:
    return Measure(value, list(items), higher_is_better=up, **{"aspect": Aspect.general, **more})


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return testing.plan(["evaluator=[forgetting]", "trainer.learning_rate=5e-3"], run_dir=tmp_path / "run")


def found(plan: Plan, after: EvalResult, before: EvalResult | None = None) -> dict[str, Concern]:
    changes = compare(before, after, plan.settings.verdict)
    return {each.name: each for each in concerns(plan, Results(before, after, changes=changes))}


def test_what_stayed_is_reported_with_the_most_that_can_be_lost(plan: Plan) -> None:
    both = found(plan, general(perplexity=41), general(divergence=0))
    concern, far = both["forgetting"], both["forgetting_divergence"]
    assert (concern.flagged, concern.unknown) == (False, False)
    assert (concern.aspect, concern.recommendation) == (Aspect.general, "")
    assert concern.harm == pytest.approx(0, abs=0.02)
    assert concern.summary == (
        "75% of 128 general questions were right before, 75% are after; the probability of the right choice fell by at "
        "most 3 points (95% confidence)"
    )
    assert concern.text == (
        "general questions right 75% to 75%, probability of the right choice 70% to 70% of 128, at most 3 points lost; "
        "perplexity of general texts 40 to 41 of 32 (1.02 times, at most 1.03)"
    )
    assert "forgetting_style" not in both
    assert far.text == (
        "changed: 0.3 nats per token from the base at general answers (0.29 to 0.3), within max_divergence=1"
    )
    assert (far.aspect, far.flagged, far.harm) == (Aspect.task, False, 0)
    continued = found(plan, general(divergence=2.3), general(divergence=2))["forgetting_divergence"]
    assert continued.text.startswith("changed: 0.3 nats per token further from the base at general answers ")
    assert (continued.flagged, continued.harm) == (False, 0)


@pytest.mark.parametrize(
    ("after", "text", "short", "harm"),
    [
        (
            general([0.0] * 32 + FINE[:96]),
            "general questions right 75% to 56%, probability of the right choice 70% to 55% of 128, 9 to 21 points "
            "lost",
            "75% of 128 general questions were right before, 56% are after; the probability of the right choice fell "
            "by at least 9 points (95% confidence)",
            0.09,
        ),
        (
            general(perplexity=80),
            "perplexity of general texts 40 to 80 of 32 (2.00 times, at most 2.01)",
            "general texts are 2.00 times as surprising to the model as before, at least 1.91 times (95% confidence)",
            0.476,
        ),
        (
            general(perplexity=4e11),
            "perplexity of general texts 40 to 4e+11 of 32 (1e+10 times, at most 1e+10)",
            "general texts are 1e+10 times as surprising to the model as before, at least 9.5e+09 times (95% "
            "confidence)",
            1.0,
        ),
        (
            general(perplexity=math.inf),
            "perplexity of general texts 40 to inf of 32 (inf times, untested)",
            "perplexity of general texts 40 to inf of 32 (inf times, untested)",
            1.0,
        ),
    ],
)
def test_each_sign_flags_by_itself(plan: Plan, after: EvalResult, text: str, short: str, harm: float) -> None:
    concern = found(plan, after, general(divergence=0))["forgetting"]
    assert concern.flagged
    assert concern.text == text
    assert concern.summary == short
    assert concern.harm == pytest.approx(harm, abs=5e-3)
    assert "lower trainer.learning_rate=0.005" in concern.recommendation
    assert "data.mix=[{data: hub, path: OWNER/NAME, weight: 0.2}]" in concern.recommendation


def test_another_style_of_general_answers_is_reported_and_is_not_forgetting(plan: Plan) -> None:
    both = found(plan, general(answers=50), general(divergence=0))
    style, forgot = both["forgetting_style"], both["forgetting"]
    assert (forgot.flagged, forgot.unknown) == (False, False)
    assert (style.aspect, style.flagged, style.harm, style.recommendation) == (Aspect.task, True, 0.0, "")
    assert style.summary == (
        "style: the model answers general instructions in the style of the new answers: good answers to general "
        "instructions are 2.50 times as surprising to the model as before, at least 2.39 times"
    )


def test_a_few_questions_cannot_tell(plan: Plan) -> None:
    """Of 32 questions two are lost: that may be nothing, or much."""
    concern = found(plan, general([0.0, 0.0, *FINE[2:32]]), general(FINE[:32], divergence=0))["forgetting"]
    assert (concern.flagged, concern.unknown, concern.harm) == (False, True, 0)
    assert concern.summary.startswith("not ruled out. 75% of 32 general questions were right before, 69% are after; ")
    assert concern.summary.endswith(" points (95% confidence); the limit is 10 points")
    assert concern.text.startswith(
        "general questions right 75% to 69%, probability of the right choice 70% to 65% of 32, at most "
    )
    assert concern.text.endswith(
        " points lost; a loss above max_accuracy_loss=0.1 is not ruled out; more questions would narrow this"
    )


def test_a_folder_without_the_probability_is_judged_by_right_and_wrong(plan: Plan) -> None:
    before, after = (
        EvalResult({"general_accuracy": measure(fmean(right), right, up=True, kind=MeasureKind.content)})
        for right in (FINE, [0.0] * 32 + FINE[:96])
    )
    concern = found(plan, after, before)["forgetting"]
    assert concern.flagged
    assert concern.text == "general questions right 75% to 56% of 128, 11 to 27 points lost"


def test_a_divergence_is_a_change_and_flagged_above_its_bound_alone(plan: Plan) -> None:
    both = found(plan, general(divergence=2.5), general(divergence=0))
    far = both["forgetting_divergence"]
    assert not both["forgetting"].flagged
    assert (far.flagged, far.aspect) == (True, Aspect.task)
    assert far.text.endswith(", more than max_divergence=1")
    assert far.summary == (
        "changed: it answers general questions very differently from its base, 2.5 nats per token; the limit is 1"
    )
    near = found(plan, general(divergence=1.0), general(divergence=0))["forgetting_divergence"]
    assert not near.flagged
    assert near.text.endswith("; more than max_divergence=1 is not ruled out")
    assert far.harm == pytest.approx(0.7635, abs=0.001)


def test_the_bounds_are_those_of_the_config(plan: Plan) -> None:
    words = ["max_divergence=0.2", "max_perplexity_ratio=1.01", "max_accuracy_loss=0.3"]
    strict = testing.plan(
        ["evaluator=[forgetting]", *(f"evaluator.forgetting.{word}" for word in words)], run_dir=plan.run_dir
    )
    both = found(strict, general([0.0] * 12 + FINE[:116], perplexity=41), general(divergence=0))
    assert both["forgetting"].text.startswith("perplexity of general texts")
    assert both["forgetting_divergence"].flagged


def test_without_a_baseline_the_divergence_is_left(plan: Plan) -> None:
    assert [*found(plan, general(perplexity=1000))] == ["forgetting_divergence"]
    assert found(plan, EvalResult({})) == {}


def test_data_that_are_mixed_already_call_for_more(plan: Plan) -> None:
    mixed = replace(plan.data.config, mix=[{"data": "hub"}])
    more = replace(plan, data=replace(plan.data, config=mixed))
    (concern,) = found(more, general(divergence=9)).values()
    assert "mix more general data in" in concern.recommendation


def tasks(tmp_path: Path, *words: str) -> Plan:
    return testing.plan(["evaluator=[lm_eval]", *words], run_dir=tmp_path / "run")


def scored(right: int, of: int = 100) -> EvalResult:
    items = [1.0] * right + [0.0] * (of - right)
    return EvalResult(
        {
            "general.acc": measure(right / of, items, up=True, kind=MeasureKind.content),
            "other": measure(0.0, [], up=True),
        }
    )


@pytest.mark.parametrize(
    ("right", "flagged", "text"),
    [
        (800, False, "general.acc 80.0% to 80.0% of 1000, at most 1 point lost"),
        (
            760,
            False,
            "general.acc 80.0% to 76.0% of 1000, 2 to 6 points lost; a loss above max_loss=0.05 is not ruled out; more "
            "questions would narrow this",
        ),
        (600, True, "general.acc 80.0% to 60.0% of 1000, 17 to 23 points lost"),
    ],
)
def test_a_benchmark_that_falls_is_flagged(tmp_path: Path, right: int, text: str, *, flagged: bool) -> None:
    (concern,) = found(tasks(tmp_path), scored(right, 1000), scored(800, 1000)).values()
    assert (concern.name, concern.flagged) == ("lm_eval", flagged)
    assert concern.text == text
    between = (
        "not ruled out. general.acc 80.0% to 76.0% of 1000, 2 to 6 points lost (95% confidence); the limit is 5 points"
    )
    assert (concern.summary == between) is (right == 760)


def test_a_benchmark_of_the_task_is_no_concern(tmp_path: Path) -> None:
    assert found(tasks(tmp_path, "evaluator.lm_eval.aspect=task"), scored(10), scored(80)) == {}


def test_other_evaluators_are_no_concern(tmp_path: Path) -> None:
    plan = testing.plan(["evaluator=[prompts]"], run_dir=tmp_path / "run")
    assert found(plan, general(divergence=9), general()) == {}
