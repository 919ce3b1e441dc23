"""The tables of docs/reference/models.md that tests make.

`python -m tests.support.model_page` writes the one of the plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from framework.cli.commands.plan_table import fitting

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"
CARDS = {
    "8 GB": "rtx4060",
    "12 GB": "rtx3060",
    "16 GB": "rtx4080",
    "24 GB": "rtx4090",
    "32 GB": "rtx5090",
    "80 GB": "a100_80",
}


def read(name: str) -> dict[str, list[str]]:
    """Return the cells of a table's lines by the first cell, the head included."""
    lines = PAGE.read_text(encoding="utf-8").partition(_start(name))[2].partition(_end(name))[0].strip().splitlines()
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines if not line.startswith("|---")]
    return {label: columns for label, *columns in cells}


def write(name: str, lines: Mapping[str, Sequence[str]]) -> None:
    """Put a table into the page; its first line is the head."""
    head, *body = (f"| {' | '.join([label, *cells])} |" for label, cells in lines.items())
    rule = "|---" * (1 + len(next(iter(lines.values())))) + "|"
    put(name, "\n".join([head, rule, *body]))


def put(name: str, text: str) -> None:
    """Put a text into the page."""
    before, _, tail = PAGE.read_text(encoding="utf-8").partition(_start(name))
    PAGE.write_text(
        f"{before}{_start(name)}\n\n{text}\n\n{_end(name)}{tail.partition(_end(name))[2]}", encoding="utf-8"
    )


def planned(card: str) -> dict[str, str]:
    """Return what the plan says of each preset on a card: the longest rows in four bits."""
    longest = {preset.model: preset.longest["quantization=nf4"] for preset in fitting(CARDS[card])}
    return {model: f"{tokens:,}" if tokens else "-" for model, tokens in longest.items()}


def _start(name: str) -> str:
    return f"<!-- {name}: made by a test -->"


def _end(name: str) -> str:
    return f"<!-- end of {name} -->"


def main() -> None:
    """Write what the plan says of all presets."""
    columns = [planned(card) for card in CARDS]
    write("plans", {"preset": [*CARDS], **{name: [column[name] for column in columns] for name in columns[0]}})


if __name__ == "__main__":
    main()
