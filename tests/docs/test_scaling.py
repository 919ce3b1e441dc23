"""The table on the page about scaling is the one that the arithmetic gives."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tests.benchmarks.gpus_table import COUNTS, SHAPES, lines, table

PAGE = Path(__file__).parents[2] / "docs/explanation/scaling.md"


def test_the_table_is_that_of_the_arithmetic() -> None:
    console = Console(width=100, highlight=False)
    with console.capture() as captured:
        console.print(table())
    printed = "\n".join(line.rstrip() for line in captured.get().splitlines())
    assert f"```text\n{printed}\n```" in PAGE.read_text(encoding="utf-8")
    assert len(list(lines())) == 2 * len(SHAPES) * len(COUNTS)
