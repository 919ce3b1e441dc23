"""decide/method.py, scoring.py: a pass over all options scores each as it is alone, and the loss is their score."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from framework.api.records import GroupedRows, Message, Prompt
from framework.api.schema import Role
from framework.api.training import TokenScores
from framework_plugins.decide.config import LOG_SCORE, MASS, PLACE, WEIGHT, DecideConfig, Score
from framework_plugins.decide.method import Decide
from framework_plugins.decide.scoring import score_options
from tests.support.pairs_plugin import token_row
from tests.support.tiny import tiny_llama
from tests.support.training import make, opened, train

EXACT = 1e-5
LABELS = "format.labels=[in,in time,odd]"
NAMES = ("in", "in time", "odd")


def rows_file(folder: Path, count: int = 24) -> Path:
    """Write rows whose label can be learned from one word."""
    words = ("when", "late", "other")
    file = folder / "rows.jsonl"
    rows = ({"text": f"Order {n} {words[n % 3]}", "label": n % 3} for n in range(count))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


@pytest.mark.parametrize("packing", ["tree", "pad"])
def test_all_options_in_one_pass_score_as_each_alone_and_training_keeps_the_mass_on_them(
    packing: str, tmp_path: Path
) -> None:
    words = ("format=decide", LABELS, "method=decide", f"trainer.packing={packing}", "data.validation_split=0.25")
    steps = ("trainer.max_steps=12", "trainer.per_device_train_batch_size=6", "adapter=full")
    base = tiny_llama(tmp_path / "base")
    with opened(make(base, rows_file(tmp_path), tmp_path / "run", *words, *steps)) as (model, data):
        prompts = [
            Prompt((Message("user", f"Order {number} late {'long ' * number}"),), options=NAMES) for number in range(2)
        ]
        together = score_options(model, prompts)
        for number, prompt in enumerate(prompts):
            alone = [
                score_options(model, [Prompt(prompt.messages, options=(option,))]).log_probs[0, 0] for option in NAMES
            ]
            assert together.log_probs[number] == pytest.approx(alone, abs=EXACT)
        method = Decide(DecideConfig())
        groups = [*data.validation_groups]
        assert [len(group.rows) for group in groups] == [len(NAMES)] * len(groups)
        before = method.measures(model, groups)
        # Of the groups themselves, each option alone.
        alone = [[sum(model.score([row])[0].log_probs) for row in group.rows] for group in groups]
        expected = [log_softmax(sums)[0] for sums in alone]
        assert before[LOG_SCORE].items == pytest.approx(expected, abs=EXACT)
        assert before[MASS].value == pytest.approx(np.exp(alone).sum(1).mean(), rel=1e-4)
        _, seen = train(model, data, tmp_path)
        after = method.measures(model, groups)
    assert seen[-1].loss_metrics["options/mass"] > 100 * before[MASS].value
    assert after[MASS].value > 100 * before[MASS].value
    assert after[LOG_SCORE].value > before[LOG_SCORE].value


def log_softmax(sums: list[float]) -> list[float]:
    total = math.log(sum(map(math.exp, sums)))
    return [value - total for value in sums]


def loss_of(
    config: DecideConfig,
    log_probs: list[list[list[float]]],
    weights: list[float] | None = None,
    places: list[int] | None = None,
) -> Any:
    """Return the loss of groups with these log-probabilities of tokens, the right option first."""
    roles = (Role.answer, Role.rejected, Role.rejected)
    groups = [
        GroupedRows(tuple(token_row(n, 4) for n in range(3)), roles, {WEIGHT: weight, PLACE: place})
        for weight, place in zip(weights or [1.0] * len(log_probs), places or [0] * len(log_probs), strict=True)
    ]
    policy = [[torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in group] for group in log_probs]
    return Decide(config)(TokenScores(groups, policy, None, 12, len(groups), groups)), policy


def plain_loss(*arguments: Any) -> float:
    return float(loss_of(*arguments)[0].value.detach())


THREE = [[[-0.2, -0.3], [-1.0, -0.5], [-2.0]], [[-1.5], [-0.1, -0.4], [-3.0, -1.0]]]


def test_the_log_score_and_the_brier_score_are_those_of_the_options() -> None:
    sums = [[sum(row) for row in group] for group in THREE]
    value, _ = loss_of(DecideConfig(mass_weight=0), THREE)
    assert float(value.value.detach()) == pytest.approx(-np.mean([log_softmax(group)[0] for group in sums]))
    assert float(value.metrics["options/accuracies"]) == 0.5
    brier, _ = loss_of(DecideConfig(mass_weight=0, score=Score.brier), THREE)
    shares = np.exp([log_softmax(group) for group in sums])
    assert float(brier.value.detach()) == pytest.approx(((shares - [1, 0, 0]) ** 2).sum(1).mean())
    # Of a scale, the right option first and at the place that the fact tells: 0 without one, and 2 of the second group.
    for places, orders in ((None, ([0, 1, 2], [0, 1, 2])), ([0, 2], ([0, 1, 2], [1, 2, 0]))):
        ranked, _ = loss_of(DecideConfig(mass_weight=0, score=Score.ranked), THREE, None, places)
        expected = [
            ((np.array(row)[order].cumsum() - np.array([1, 0, 0])[order].cumsum()) ** 2).sum()
            for row, order in zip(shares.tolist(), orders, strict=True)
        ]
        assert float(ranked.value.detach()) == pytest.approx(np.mean(expected))
    smooth, _ = loss_of(DecideConfig(mass_weight=0, label_smoothing=0.3), THREE)
    logs = np.array([log_softmax(group) for group in sums])
    assert float(smooth.value.detach()) == pytest.approx(-(logs @ [0.8, 0.1, 0.1]).mean())


def test_with_mass_weight_1_the_log_score_is_the_cross_entropy_over_all_tokens() -> None:
    value, policy = loss_of(DecideConfig(mass_weight=1), THREE)
    assert float(value.value.detach()) == pytest.approx(-np.mean([sum(group[0]) for group in THREE]))
    value.value.backward()
    assert policy[0][0].grad.tolist() == pytest.approx([-0.5, -0.5])
    assert [row.grad.abs().max().item() for row in policy[0][1:]] == pytest.approx([0, 0], abs=1e-12)


def test_without_the_mass_only_ratios_count() -> None:
    lower = [[[value - 5 / len(row) for value in row] for row in group] for group in THREE]
    for config in (DecideConfig(mass_weight=0), DecideConfig(mass_weight=0, score=Score.brier)):
        assert plain_loss(config, THREE) == pytest.approx(plain_loss(config, lower))
    kept = DecideConfig(mass_weight=0.1)
    assert plain_loss(kept, lower) - plain_loss(kept, THREE) == pytest.approx(0.5)


def test_a_class_weight_multiplies_the_loss_of_its_rows() -> None:
    one, two = (plain_loss(DecideConfig(), [group]) for group in THREE)
    assert plain_loss(DecideConfig(), THREE, [3.0, 1.0]) == pytest.approx((3 * one + two) / 2)
