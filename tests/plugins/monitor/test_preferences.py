"""monitor/preferences.py: chosen answers that become unlikely are named, a training that keeps them is not."""

from __future__ import annotations

import numpy as np
import pytest

from framework.api import Step
from framework_plugins.monitor.preferences import FallingLikelihood

BETA = 0.1


def entries(falls: float, margin: float) -> list[Step]:
    """Return thirty entries in which the log-probability of chosen answers, 100 nats at first, falls to the end."""
    draw = np.random.default_rng(0)
    made = []
    for number in range(1, 31):
        moved = -falls * number / 30 + draw.normal(0, 2)
        metrics = {"rewards/chosen": BETA * moved, "logps/chosen": -100 + moved, "rewards/margins": margin}
        made.append(Step(number, 30, 1.0, 0.5, 1e-5, 1.0, 100, 1.0, loss_metrics=metrics))
    return made


@pytest.mark.parametrize(
    ("falls", "margin", "named"), [(80, 2.0, True), (10, 2.0, False), (-30, 2.0, False), (80, -1, False)]
)
def test_chosen_answers_that_become_unlikely_are_named(falls: float, margin: float, *, named: bool) -> None:
    rule = FallingLikelihood(BETA)
    found = [text for step in entries(falls, margin) if (text := rule.check(step))]
    assert bool(found) is named
    if found:
        assert "their log-probability fell by " in found[0].text
        rule.reset()
        assert rule.check(entries(falls, margin)[0]) is None


def test_other_trainings_say_nothing_to_it() -> None:
    assert FallingLikelihood(BETA).check(Step(1, 30, 1.0, 0.5, 1e-5, 1.0, 100, 1.0)) is None
