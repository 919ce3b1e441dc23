"""hf/train/rollouts.py: a training on answers that it draws itself, and the same one after an interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from framework import FrameworkError
from framework.api import Answer, Message, Prompt, Rewards, Step
from framework.api.training import DRAW_DIFFERENCE, StepControl, TrainRun
from framework_plugins.hf.train.rollouts import Draws, Rollouts
from tests.support.training import make, opened

SETTINGS = (
    "method=grpo", "reward=[json_valid]", "trainer.max_steps=5", "trainer.save_steps=1", "audit=[]",
    "trainer.per_device_train_batch_size=1", "trainer.gradient_accumulation_steps=2", "trainer.eval_steps=2",
    "trainer.logging_steps=1", "method.num_generations=4", "method.max_completion_length=6", "method.beta=0.1",
    "method.steps_per_generation=2", "method.temperature=0.8", "adapter.lora_dropout=0.0",
)  # fmt: skip


class Ended(Exception):  # noqa: N818 - not an error of the program
    """What ends a training in these tests."""


def vowels(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
    """Reward the share of vowels."""
    share: list[float | None] = [sum(answer.text.count(each) for each in "aeiou") / 10 for answer in answers]
    assert len(prompts) == len(answers)
    return Rewards(share, {"vowels": share}, {"vowels": 1.0}, {"asked": float(len(answers))})


def equal(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
    del prompts
    return Rewards([0.5] * len(answers), {"equal": [0.5] * len(answers)}, {"equal": 1.0})


@pytest.fixture(scope="module")
def asks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Questions, half of them with an answer."""
    file = tmp_path_factory.mktemp("asks") / "rows.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Add {number} and 1, and say what it is."}]} for number in range(12)
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def trained(
    base: Path, asks: Path, folder: Path, *words: str, end: int = 0, reward: Any = vowels
) -> tuple[list[Step], dict[str, torch.Tensor]]:
    steps: list[Step] = []

    def on_step(step: Step) -> StepControl:
        steps.append(step)
        if step.step == end and not step.repeated:
            raise Ended
        return StepControl()

    with opened(make(base, asks, folder, *SETTINGS, *words)) as (model, data):
        run = TrainRun(folder / "checkpoint", folder / "scratch", on_step, prompts=data.train_prompts, reward=reward)
        if end:
            with pytest.raises(Ended):
                model.train(data.train_groups, data.validation_groups, run)
            return steps, {}
        model.train(data.train_groups, data.validation_groups, run)
    return steps, load_file(folder / "checkpoint" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def uninterrupted(
    base: Path, asks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Step], dict[str, torch.Tensor]]:
    return trained(base, asks, tmp_path_factory.mktemp("whole"))


def test_a_training_whose_reward_fails_loses_no_step(
    base: Path, asks: Path, tmp_path: Path, uninterrupted: tuple[list[Step], dict[str, torch.Tensor]]
) -> None:
    def slow(*given: Any, step: int, **_: int) -> Rewards:
        if step == 4:
            raise FrameworkError("reward=slow takes longer")
        return vowels(*given)

    words = ("trainer.save_steps=null",)
    with pytest.raises(FrameworkError, match="takes longer"):
        trained(base, asks, tmp_path, *words, reward=slow)
    resumed, weights = trained(base, asks, tmp_path, *words)
    assert [step.repeated for step in resumed] == [True, True, True, True, False]
    assert all(torch.equal(weights[name], weight) for name, weight in uninterrupted[1].items())


def test_an_interrupted_training_resumes_with_the_same_answers_bit_for_bit(
    base: Path, asks: Path, tmp_path: Path, uninterrupted: tuple[list[Step], dict[str, torch.Tensor]]
) -> None:
    """It ends after the first of two steps whose answers were drawn at once, with the weights before it."""
    whole, weights = uninterrupted
    trained(base, asks, tmp_path / "ended", end=4)
    resumed, again = trained(base, asks, tmp_path / "ended")
    assert [step.step for step in resumed] == [1, 2, 3, 4, 5]
    assert [step.repeated for step in resumed] == [True, True, True, False, False]
    assert [step.loss_metrics for step in resumed] == [step.loss_metrics for step in whole]
    assert [step.samples for step in resumed] == [step.samples for step in whole]
    assert weights.keys() == again.keys()
    assert all(torch.equal(weights[name], again[name]) for name in weights)

    first, second = (step.loss_metrics for step in whole[:2])
    assert first[DRAW_DIFFERENCE] < 1e-5  # fp32: the draw is that of the weights, at the temperature
    assert first["asked"] == 8
    assert {"reward", "reward_std", "rewards/vowels/mean", "rewards/vowels/std", "frac_reward_zero_std"} <= {*first}
    assert 0 < first["completions/clipped_ratio"] <= 1
    assert 0 < first["entropy"] < 8
    assert first["kl"] == pytest.approx(0, abs=1e-9)  # a new adapter is its own reference
    assert whole[3].loss_metrics["kl"] > 0  # the warm-up begins with a rate of 0
    assert "reward" not in second  # drawn with the first
    (best, worst) = whole[0].samples
    assert best.prompt == worst.prompt
    assert best.scores["vowels"] > worst.scores["vowels"]


def test_rewards_that_tell_no_answers_apart_end_the_training(base: Path, asks: Path, tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match=r"no prompt of the first 5 steps has .* \(the means are equal 0.5\)"):
        trained(base, asks, tmp_path, "method.steps_per_generation=1", "method.beta=0", reward=equal)


def test_draws_of_other_weights_are_refused_before_the_update() -> None:
    rollouts = Rollouts(None, [], None, None, 0, 1, 1, None, None)  # type: ignore[arg-type] # only its check
    rollouts.check(1, {DRAW_DIFFERENCE: 0.05})
    assert not rollouts.warned
    rollouts.check(1, {DRAW_DIFFERENCE: 0.3})
    assert rollouts.warned
    with pytest.raises(FrameworkError, match=r"step 2: .* are 1.5 nats a token away .* drawn with other weights"):
        rollouts.check(2, {DRAW_DIFFERENCE: 1.5})


def test_what_is_logged_leaves_out_answers_without_a_reward() -> None:
    total = [None, 1.0, 0.0, None, None, None, 0.5, 0.5]
    answers = [Answer("", 3, stopped=bool(number % 2)) for number in range(8)]
    draws = Draws(
        [Prompt((Message("user", "Why?"),))] * 8, answers, 4, Rewards(total, {"it": total, "none": [None] * 8}, {})
    )
    assert draws.metrics() == {
        "reward": 0.5,
        "reward_std": pytest.approx(0.408, abs=1e-3),
        "rewards/it/mean": 0.5,
        "rewards/it/std": pytest.approx(0.408, abs=1e-3),
        "frac_reward_zero_std": 0.5,
        "completions/mean_length": 3,
        "completions/clipped_ratio": 0.5,
    }
    assert [sample.scores for sample in draws.shown()] == [{"it": 1.0}, {"it": 0.0}]
