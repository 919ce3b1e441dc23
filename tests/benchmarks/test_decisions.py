"""benchmarks/decisions.py: some cells of the simulation of what the verdict decides."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.decisions import COPIED, LOSSES, Tally, copied, forgotten
from framework import testing

RUNS = 60
NOISE = 0.08
"""Two standard errors of a share of 10% in 60 simulations."""


@pytest.mark.parametrize("lost", ["nothing", "perplexity of answers, 2.25 times", "perplexity of texts, 2.25 times"])
def test_the_short_suite_decides_about_forgetting(tmp_path: Path, lost: str) -> None:
    plan = testing.plan(["evaluator=[short_forgetting]"], run_dir=tmp_path)
    # Answers are about style, and decide nothing.
    decides(forgotten(plan, RUNS, LOSSES[lost]), flagged=lost.startswith("perplexity of texts"))


@pytest.mark.parametrize(("name", "flagged"), [("a task learned to 95%", False), ("20% recited", True)])
def test_the_looks_decide_about_copying(name: str, *, flagged: bool) -> None:
    decides(copied(RUNS, 256, *COPIED[name]), flagged=flagged)


def decides(tally: Tally, *, flagged: bool) -> None:
    right, wrong = (tally.flagged, tally.ruled_out) if flagged else (tally.ruled_out, tally.flagged)
    assert right >= (0.9 - NOISE) * RUNS
    assert wrong == 0
    assert fmean(tally.covered) >= 0.93 - NOISE / 2
