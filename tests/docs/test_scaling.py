"""The tables on the page about scaling are those that the arithmetic gives."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import clusters_table
from benchmarks.clusters_table import ONE_AND_EIGHT, SHAPES, gpu_lines, gpus

PAGE = Path(__file__).parents[2] / "docs/explanation/scaling.md"


def test_the_table_is_that_of_the_arithmetic() -> None:
    console = Console(width=100, highlight=False)
    with console.capture() as captured:
        console.print(gpus())
    printed = "\n".join(line.rstrip() for line in captured.get().splitlines())
    assert f"```text\n{printed}\n```" in PAGE.read_text(encoding="utf-8")
    assert len(list(gpu_lines())) == 2 * len(SHAPES) * len(ONE_AND_EIGHT)


def test_the_arithmetic_of_clusters_is_near_published_shares() -> None:
    # The authors count every pair of tokens in attention, the plan half of them.
    assert all(0.85 < run.share / run.told < 1 for run in clusters_table.PUBLISHED if run.told)
    by_count = {(line.model, line.method, line.count): line for line in clusters_table.lines()}
    received = [by_count["8B", "LoRA", count].received.in_pass for count in (8, 512)]
    assert received[0] / received[1] == pytest.approx((7 / 8) / (511 / 512))
    assert not by_count["405B", "full", 64].fits
