"""framework/monitor/reward_curve.py: a trend of a reward is distinguished from noise."""

from __future__ import annotations

import random
from collections.abc import Sequence

from framework.api.records import RewardRise, Step
from framework.monitor.reward_curve import rises


def steps(values: Sequence[float]) -> list[Step]:
    return [
        Step(
            number, len(values), 0.0, 0.0, 0.0, 0.0, 0, 0.0, loss_metrics={"rewards/mine/mean": value, "reward": value}
        )
        for number, value in enumerate(values, start=1)
    ]


def test_a_reward_that_rises_is_told_from_one_that_only_varies() -> None:
    dice = random.Random(1)  # noqa: S311 - noise
    noise = [dice.gauss(0.5, 0.1) for _ in range(24)]
    assert not rises(steps(noise), 0.95)["mine"].rose
    assert rises(steps([0.02 * place + value for place, value in enumerate(noise)]), 0.95)["mine"].rose
    assert rises(steps([0.0] * 3 + [0.5] * 6), 0.95) == {"mine": RewardRise(0.0, 0.5, rose=True)}
    assert rises(steps([0.1, 0.2, 0.9]), 0.95) == {}
