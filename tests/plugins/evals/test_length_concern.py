"""A judge that prefers a model whose answers are longer: that may be the length."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Change, EvalResult, Outcome, Results, Sample
from framework_plugins.evals.length_concern import length_concerns


def answers(tokens: int) -> EvalResult:
    return EvalResult({}, [Sample(str(n), "x", None, stopped=True, scores={}, tokens=tokens) for n in range(8)])


@pytest.mark.parametrize(
    ("outcome", "tokens", "metric", "said"),
    [
        (Outcome.better, 30, "judge", True),
        (Outcome.undecided, 30, "judge", False),
        (Outcome.better, 11, "judge", False),
        (Outcome.better, 30, "token_f1", False),  # which longer answers do not raise
    ],
)
def test_it_is_said_if_longer_answers_are_preferred(
    tmp_path: Path, outcome: Outcome, tokens: int, metric: str, *, said: bool
) -> None:
    words = [f"metric=[{metric}]"]
    words += ["metric.judge.base_url=http://localhost:1/v1", "metric.judge.model=m"] if metric == "judge" else []
    plan = testing.plan(words, run_dir=tmp_path)
    changes = {metric: Change(4.0, 6.0, higher_is_better=True, outcome=outcome)}
    found = [*length_concerns(plan, Results(answers(10), answers(tokens), changes=changes))]
    assert [each.text for each in found] == (
        [
            "judge may reward length: 8 of 8 answers are longer than the base's, 3.0 times on average, and judges "
            "prefer longer answers"
        ]
        if said
        else []
    )
    assert all(each.flagged for each in found)
