"""benchmarks/verdict.py: some cells of the simulation of the verdict's tests and intervals."""

from __future__ import annotations

from benchmarks.verdict import (
    SKEWED,
    Cell,
    constants,
    gains,
    several,
    shares_coverage,
    shares_false,
    simulated,
    skewed,
    wordings,
)

SIZES = (8, 20, 60)
NOISE = 0.025
"""Four standard errors of a share of 5% in 1,200 simulations."""


def test_shares_keep_the_level_and_the_coverage_exactly() -> None:
    false, coverage = list(shares_false(SIZES)), list(shares_coverage(SIZES))
    assert max(cell.rate for cell in false) <= 0.05
    assert min(cell.rate for cell in coverage) >= 0.93
    assert _mean(coverage) >= 0.95
    assert all(cell.width > 0 for cell in coverage)


def test_numbers_and_clusters_keep_them_in_a_simulation() -> None:
    false, coverage = simulated(1200, (30,))
    assert max(cell.rate for cell in false) <= 0.06 + NOISE
    assert _mean(false) <= 0.05
    assert min(cell.rate for cell in coverage) >= 0.92 - NOISE
    assert _mean(coverage) >= 0.95


def test_several_measures_together_keep_the_level() -> None:
    assert max(cell.rate for cell in several(1200, (20,))) <= 0.06 + NOISE


def test_many_small_gains_and_few_large_losses_keep_the_level_that_the_page_claims() -> None:
    assert max(cell.rate for cell in skewed(1200, SKEWED, (8, 20))) <= 0.075 + NOISE


def test_prompts_that_are_not_independent_do_not_tell_of_an_effect_that_is_none() -> None:
    rows = list(wordings(300))
    assert [row.counted for row in rows] == [row.independent for row in rows]
    assert max(max(row.told) for row in rows) <= 0.06 + 2 * NOISE
    assert min(min(row.coverage) for row in rows) >= 0.92 - 2 * NOISE


def test_a_clear_gain_is_not_denied_and_its_interval_holds_it() -> None:
    denied, coverage = gains(60, (12,))
    assert max(cell.rate for cell in denied) <= 0.1
    assert min(cell.rate for cell in coverage) >= 0.92


def test_one_answer_to_everything_is_not_called_better() -> None:
    assert max(cell.rate for cell in constants(60, (20, 60))) == 0


def _mean(cells: list[Cell]) -> float:
    return sum(cell.rate for cell in cells) / len(cells)
