"""benchmarks/ranking.py: some cells of the simulation of what a sweep says."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import ranking

RUNS = 60
NOISE = 3 * (0.05 * 0.95 / RUNS) ** 0.5


@pytest.mark.parametrize("kind", ["graded, clusters of four", "loss, skewed against one trial"])
def test_luck_names_no_winner_and_the_interval_of_the_best_holds_its_truth(kind: str) -> None:
    random = np.random.default_rng(1)
    found = [ranking.sweep(ranking.KINDS[kind](random, 8, 32)) for _ in range(RUNS)]
    assert np.mean([one.winner for one in found]) <= 0.05 + NOISE
    assert np.mean([one.wrong for one in found]) <= 0.05 + NOISE
    assert np.mean([one.value for one in found]) >= 0.93 - NOISE
    assert np.mean([one.plain_wrong for one in found]) > 0.2


def test_a_trial_that_is_better_is_found() -> None:
    kind = "0/1, 30% of the answers by chance"
    better = np.array([0.0, ranking.GAINS[kind], 0.0])
    found = [ranking.sweep(ranking.KINDS[kind](np.random.default_rng(seed), 3, 60, better)) for seed in range(20)]
    assert np.mean([one.right_winner for one in found]) > 0.5
