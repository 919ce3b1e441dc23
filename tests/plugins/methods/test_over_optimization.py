"""methods/over_optimization.py: each sign is named with its numbers, and no sign is named if there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import testing
from framework.api.records import Change, EvalResult, Outcome, Results, Sample
from framework_plugins.methods.over_optimization import over_optimization

WORSE = Change(1.0, 1.5, higher_is_better=False, outcome=Outcome.worse)
LONG, UNLIKELY = "answers are 3.0 times as long", "chosen answers became less likely, 1.00 to 1.50 nats a token"


def answers(tokens: int) -> EvalResult:
    return EvalResult({}, [Sample(str(n), "x", None, stopped=True, scores={}, tokens=tokens) for n in range(8)])


@pytest.mark.parametrize(
    ("method", "tokens", "changes", "named"),
    [
        ("dpo", 30, {"eval_loss": WORSE}, [UNLIKELY, LONG, "raise method.beta=0.1"]),
        ("kto", 11, {"eval_loss": WORSE}, ["good answers became less likely", "5, or train for fewer steps"]),
        ("kto", 11, {"general_divergence": Change(0.0, 0.8, higher_is_better=False)}, ["0.80 nats a token from its"]),
        ("dpo", 11, {"eval_loss": Change(1.0, 1.5, higher_is_better=False, outcome=Outcome.undecided)}, []),
        ("sft", 30, {"eval_loss": WORSE}, []),
    ],
)
def test_the_signs_are_named(
    tmp_path: Path, method: str, tokens: int, changes: dict[str, Change], named: list[str]
) -> None:
    plan = testing.plan([f"method={method}"], run_dir=tmp_path)
    found = [*over_optimization(plan, Results(answers(10), answers(tokens), changes=changes))]
    assert len(found) == bool(named)
    assert all(part in f"{found[0].text} {found[0].recommendation}" for part in named)
