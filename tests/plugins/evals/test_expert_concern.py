"""The balance of experts in the report: one line, and a finding if experts die, which chance does not make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from framework import testing
from framework.api import EvalResult, ExpertUse, Results
from framework_plugins.evals.expert_concern import dead_experts, expert_concerns

LAYERS, EXPERTS, CHOSEN, CONFIDENCE = 4, 64, 4, 0.95


def use_of(tokens: NDArray[np.int64]) -> ExpertUse:
    """Return the use in texts, from the tokens of each expert: (layers, texts, experts)."""
    names = [f"layers.{number}" for number in range(len(tokens))]
    counts, seen = tokens.sum(axis=1), (tokens > 0).sum(axis=1)
    total = int(tokens[0].sum()) // CHOSEN
    by_layer = [{name: [*map(int, row)] for name, row in zip(names, part, strict=True)} for part in (counts, seen)]
    return ExpertUse(total, tokens.shape[1], CHOSEN, by_layer[0], by_layer[1])


def drawn(random: np.random.Generator, texts: int, active: float) -> NDArray[np.int64]:
    """Draw the use by a model: each text needs some experts, and those often."""
    needed = random.random((LAYERS, texts, EXPERTS)) < active
    return needed * random.geometric(0.05, needed.shape)


def one_use_each(random: np.random.Generator, texts: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw the null that the test is exact for: in each text one of the two models chooses an expert."""
    side = random.random((LAYERS, texts, EXPERTS)) < 0.5
    return side * 10, ~side * 10


def without(use: ExpertUse, other: ExpertUse) -> ExpertUse:
    return replace(use, tokens=other.tokens, texts=other.texts)


@pytest.mark.parametrize("texts", [10, 14, 20, 60])
@pytest.mark.parametrize("active", [0.02, 0.1, 0.5])
def test_chance_kills_no_expert(texts: int, active: float) -> None:
    random, naive, found, runs = np.random.default_rng(texts), 0, 0, 200
    for _ in range(runs):
        before, after = (use_of(drawn(random, texts, active)) for _ in range(2))
        after = without(after, before)
        found += bool(dead_experts(before, after, CONFIDENCE))
        naive += any(
            not now and then >= 0.5 * before.tokens * CHOSEN / EXPERTS
            for layer in before.counts
            for now, then in zip(after.counts[layer], before.counts[layer], strict=True)
        )
    assert found <= (1 - CONFIDENCE) * runs / 5
    if active * texts < 2:  # an expert is needed by two texts or fewer: without a test, chance is found
        assert naive > 0.9 * runs


def test_the_share_of_false_alarms_is_what_it_may_be_under_the_exact_null() -> None:
    random, runs, texts = np.random.default_rng(0), 1000, 13
    found = 0
    for _ in range(runs):
        before, after = map(use_of, one_use_each(random, texts))
        found += bool(dead_experts(before, without(after, before), CONFIDENCE))
    expected = LAYERS * EXPERTS * 2.0**-texts
    assert 0.5 * expected < found / runs < 1 - CONFIDENCE


@pytest.mark.parametrize(("texts", "active", "dies"), [(30, 0.8, True), (60, 0.5, True), (12, 1.0, False)])
def test_experts_that_die_are_named_if_there_are_enough_texts(texts: int, active: float, *, dies: bool) -> None:
    random = np.random.default_rng(1)
    before = drawn(random, texts, active)
    after = drawn(random, texts, active)
    after[2][:, [3, 40]] = 0
    found = dead_experts(use_of(before), without(use_of(after), use_of(before)), CONFIDENCE)
    assert found == ({"layers.2": [3, 40]} if dies else {})


def test_the_report_has_a_line_of_the_balance_and_the_dead_experts(tmp_path: Path) -> None:
    plan = testing.plan([], run_dir=tmp_path)
    before = use_of(np.full((LAYERS, 40, EXPERTS), 5))
    after = replace(before, counts={**before.counts, "layers.1": [0, *before.counts["layers.1"][1:]]})
    (concern,) = expert_concerns(plan, Results(EvalResult({}, experts=before), EvalResult({}, experts=after)))
    assert concern.flagged
    assert concern.harm == 0
    dead = "1 expert in use before the training, and chosen by no held-out token after it"
    assert concern.summary == f"{dead}: 0 of layers.1"
    even = "the busiest has 1.0 times its even share, evenness 1.00"
    assert concern.text == (
        f"experts of 4 layers on 3,200 held-out tokens: before 0 of 256 unused, {even}; after 1 of 256 unused, {even}"
    )
    (concern,) = expert_concerns(plan, Results(None, EvalResult({}, experts=before)))
    assert not concern.flagged
    assert not list(expert_concerns(plan, Results(EvalResult({}), EvalResult({}))))
