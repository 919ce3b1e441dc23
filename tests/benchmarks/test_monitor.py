"""benchmarks/monitor.py: a few trainings of each kind."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor import issues, share
from benchmarks.monitor_kinds import DOWN, HELD_OUT_SICK, NEITHER, ORDINARY, SICK, UP
from framework.api.records import EvalResult, Sample
from framework.api.schema import Action
from framework.monitor.truncated_answers import truncation_issues

RUNS = 5
AT_ONCE = [name for name in SICK if name.startswith(("NaN", "gradients are", "diverges", "the same", "blows", "grad"))]
"""What leaves weights worthless, and is reported within 20 log entries."""
ENDLESS = EvalResult({}, [Sample("ask", "on and on", "on", stopped=False, scores={})] * 9)
OPPOSITE = {UP: "ower trainer.learning_rate", DOWN: "Raise trainer.learning_rate"}


def test_of_ordinary_trainings_at_most_one_in_twenty_is_reported() -> None:
    rates = {name: share(make, RUNS)[0] for name, make in ORDINARY.items() if "600" not in name}
    assert sum(rates.values()) <= 0.05 * len(rates), {name: rate for name, rate in rates.items() if rate}


@pytest.mark.parametrize("name", AT_ONCE)
def test_a_training_that_is_lost_is_reported_within_twenty_entries(name: str) -> None:
    rate, firsts, _ = share(SICK[name].make, RUNS)
    assert (rate, firsts[-1] - SICK[name].starts <= 20) == (1.0, True)


@pytest.mark.parametrize("name", [*SICK, *HELD_OUT_SICK])
def test_no_recommendation_makes_it_worse(name: str) -> None:
    sick, random = {**SICK, **HELD_OUT_SICK}[name], np.random.default_rng(1)
    for _ in range(2):
        found = issues(sick.make(random))
        answers = truncation_issues(Action.warn, ENDLESS, None, 1, found) if found else []
        for issue in [*found, *answers]:
            wrong = [word for rate, word in OPPOSITE.items() if sick.rate in {rate, NEITHER}]
            assert not any(word in issue.recommendation for word in wrong), issue.line
            assert sick.rate != DOWN or "train for more steps" not in issue.recommendation
