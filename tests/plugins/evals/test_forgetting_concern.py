"""A run that forgot is flagged by each sign, with the recommendation; one that did not is reported with its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from framework import testing
from framework.api.plan import Plan
from framework.api.records import Aspect, Concern, EvalResult, Measure, Results
from framework.evaluate.verdict import compare
from framework_plugins.evals.forgetting_concern import concerns

FINE = [1.0, 1.0, 1.0, 0.0] * 16


def general(
    right: list[float] = FINE, perplexity: float = 40.0, divergence: float = 0.3, answers: float = 20.0
) -> EvalResult:
    return EvalResult(
        {
            "general_accuracy": measure(sum(right) / len(right), right, up=True),
            "general_answers": measure(answers, []),
            "general_perplexity": measure(perplexity, []),
            "general_divergence": measure(divergence, []),
        }
    )


def measure(value: float, items: list[float], *, up: bool = False, aspect: Aspect = Aspect.general) -> Measure:
    return Measure(value, list(items), higher_is_better=up, aspect=aspect)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return testing.plan(["evaluator=[forgetting]", "trainer.learning_rate=5e-3"], run_dir=tmp_path / "run")


def found(plan: Plan, after: EvalResult, before: EvalResult | None = None, nulls: int = 0) -> list[Concern]:
    noise = [general(divergence=0.004)] * nulls
    changes = compare(before, after, noise, plan.verdict)
    return list(concerns(plan, Results(before, after, noise, changes=changes)))


def test_what_stayed_is_not_flagged_and_told_with_its_figures(plan: Plan) -> None:
    (concern,) = found(plan, general(perplexity=41), general(divergence=0), nulls=1)
    assert not concern.flagged
    assert (concern.name, concern.aspect, concern.harm, concern.recommendation) == ("forgetting", Aspect.general, 0, "")
    assert concern.text == (
        "general questions right 75% to 75%, perplexity of general texts 40 to 41 (1.02 times), perplexity of general "
        "answers 20 to 20 (1.00 times), divergence from the base 0.3 nats a token (a random adapter of its size: 0.004)"
    )


@pytest.mark.parametrize(
    ("after", "text", "harm"),
    [
        (general([0.0] * 32 + FINE[:32]), "general questions right 75% to 38%", 0.375),
        (general(perplexity=80), "perplexity of general texts 40 to 80 (2.00 times)", 0.5),
        (general(answers=50), "perplexity of general answers 20 to 50 (2.50 times)", 0.6),
        (general(divergence=2.5), "divergence from the base 2.5 nats a token", 0.918),
        (general(perplexity=float("inf")), "perplexity of general texts 40 to inf (inf times)", 1.0),
    ],
)
def test_each_sign_flags_by_itself(plan: Plan, after: EvalResult, text: str, harm: float) -> None:
    (concern,) = found(plan, after, general(divergence=0))
    assert concern.flagged
    assert concern.text == text
    assert concern.harm == pytest.approx(harm, abs=1e-3)
    assert "lower trainer.learning_rate=0.005" in concern.recommendation
    assert "data.mix=[{data: hub, path: OWNER/NAME, weight: 0.2}]" in concern.recommendation


def test_a_fall_that_may_be_chance_is_not_flagged(plan: Plan) -> None:
    few, fewer = [1.0] * 7, [1.0] * 6 + [0.0]
    (concern,) = found(plan, general(fewer), general(few, divergence=0))
    assert not concern.flagged


def test_the_bounds_are_those_of_the_config(plan: Plan) -> None:
    words = ["max_divergence=0.2", "max_perplexity_ratio=1.01", "max_accuracy_loss=0.3"]
    strict = testing.plan(
        ["evaluator=[forgetting]", *(f"evaluator.forgetting.{word}" for word in words)], run_dir=plan.run_dir
    )
    after = general([0.0] * 12 + FINE[:52], perplexity=41)
    (concern,) = found(strict, after, general(divergence=0))
    assert concern.text.startswith("perplexity of general texts")
    assert concern.text.endswith("divergence from the base 0.3 nats a token")


def test_without_a_baseline_the_divergence_is_left(plan: Plan) -> None:
    (concern,) = found(plan, general(perplexity=1000))
    assert concern.text == "divergence from the base 0.3 nats a token"
    assert found(plan, EvalResult({})) == []


def test_data_that_are_mixed_already_call_for_more(plan: Plan) -> None:
    mixed = replace(plan.data.config, mix=[{"data": "hub"}])
    more = replace(plan, data=replace(plan.data, config=mixed))
    (concern,) = found(more, general(divergence=9))
    assert "mix more general data in" in concern.recommendation


def tasks(tmp_path: Path, *words: str) -> Plan:
    return testing.plan(["evaluator=[lm_eval]", *words], run_dir=tmp_path / "run")


def scored(right: int, of: int = 100) -> EvalResult:
    items = [1.0] * right + [0.0] * (of - right)
    return EvalResult({"general.acc": measure(right / of, items, up=True), "other": measure(0.0, [], up=True)})


@pytest.mark.parametrize(("right", "flagged"), [(80, False), (76, False), (60, True)])
def test_a_benchmark_that_falls_is_flagged(tmp_path: Path, right: int, *, flagged: bool) -> None:
    (concern,) = found(tasks(tmp_path), scored(right), scored(80))
    assert (concern.name, concern.flagged) == ("lm_eval", flagged)
    assert concern.text == f"general.acc 80.0% to {right:.1f}%"


def test_a_benchmark_of_the_task_is_no_concern(tmp_path: Path) -> None:
    assert found(tasks(tmp_path, "evaluator.lm_eval.aspect=task"), scored(10), scored(80)) == []


def test_other_evaluators_are_no_concern(tmp_path: Path) -> None:
    plan = testing.plan(["evaluator=[prompts]"], run_dir=tmp_path / "run")
    assert found(plan, general(divergence=9), general()) == []
