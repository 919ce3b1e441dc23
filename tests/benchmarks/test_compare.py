"""benchmarks/compare.py: some cells of the simulation of several systems."""

from __future__ import annotations

import pytest

from benchmarks.compare import KINDS, cell

NOISE = 0.06
"""Three standard errors of a share of 5% in 120 simulations."""


@pytest.mark.parametrize("name", KINDS)
def test_systems_that_do_not_differ_are_rarely_called_different(name: str) -> None:
    found = cell(name, items=20, systems=3, measures=1, runs=120)
    assert found.told <= 0.05 + NOISE
    assert found.covered >= 0.95 - NOISE
    assert found.width > 0
