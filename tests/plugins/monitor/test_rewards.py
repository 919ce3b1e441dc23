"""monitor/rewards.py and slow growth: problems are found with their advice, and ordinary trainings are not reported."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.monitor_rewards import ORDINARY, SICK, Kind, training
from framework.api.records import TrainingIssue
from tests.support.curves import seen

FOUND = {
    "GRPO, the reward falls from 0.6 to 0.3 in the second half": ("falling_reward", "the reward fell to 0."),
    "GRPO, the reward is 0 from 70% on": ("falling_reward", "and began at 0.4"),
    "GRPO, a penalty grows: -0.5 to -2": ("falling_reward", "Look at the drawn answers or the pairs of these steps"),
    "GRPO, no signal in 98% from 30% on": ("drawn_answers", "If the reward is near its highest, end the training"),
    "GRPO, all answers are cut off from the start": ("drawn_answers", "Raise method.max_completion_length"),
    "GRPO, the KL grows to 10": ("drawn_answers", "or set method.beta=0.04, which keeps the model near"),
    "GRPO without a KL, the entropy grows from 1 to 7": ("drawn_answers", "Lower trainer.learning_rate from 1e-05"),
    "DPO, the margin falls to -0.5": ("falling_reward", "the margin of the rewards is -0."),
    "DPO, the margin stays at 0": ("falling_reward", "or the labels, are the right way round and differ"),
    "KTO, the margin stays at 0": ("falling_reward", "and 0 before any training"),
    "SimPO, the margin falls from -3 to -5": ("falling_reward", "and began at -3"),
    "the loss falls, then rises by 0.4% a step": ("rising_loss", "the loss rose "),
    "norms grow twelvefold, while the loss stays": ("exploding_gradient", "while the loss is 1."),
}


def issues(kind: Kind, count: int, run: int) -> list[TrainingIssue]:
    return seen(training(kind, np.random.default_rng([1, run, count]), count), *kind.words)


@pytest.mark.parametrize("name", SICK)
def test_what_goes_wrong_is_reported_with_its_advice(name: str) -> None:
    kind, said = FOUND[name]
    (issue,) = issues(SICK[name], 200 if kind == "rising_loss" else 60, 0)[:1]
    assert issue.kind == kind
    assert said in issue.line


def test_ordinary_trainings_are_not_reported() -> None:
    said = {name: found for name, kind in ORDINARY.items() for run in range(2) if (found := issues(kind, 60, run))}
    assert len(said) <= 1, said


def test_a_loss_that_drops_in_one_jump_has_not_risen() -> None:
    kind = ORDINARY["the loss drops to a fourth in one jump at 60%"]
    assert not [found for run in range(4) if (found := issues(kind, 200, run))]
