"""The results, as text and as one JSON object."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from framework import __version__
from framework.api import State, as_plain, shell_word
from framework_plugins.doctor import DiagnosticRecord

MARGIN = 2
COLOURS = {State.ok: "green", State.missing: "yellow", State.broken: "yellow", State.off: "dim", State.unknown: "dim"}
STATE_WIDTH = max(len(state.value) for state in State)
MIN_GROUPED_RECORDS = 3
"""From this many on, records of a topic that say no more than a version share a line."""


def as_json(records: Sequence[DiagnosticRecord], words: Sequence[str]) -> dict[str, Any]:
    """Return everything; `reasons` are the records that keep the run from starting."""
    return {
        "can_run": not any(one.blocks for one in records),
        "overrides": list(words),
        "framework": __version__,
        "reasons": [as_plain(one) for one in records if one.blocks],
        "checks": [as_plain(one) for one in records],
    }


def show(console: Console, records: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    """Print a block for each topic, and whether the run can start."""
    width = max(len(one.name) for one in records)
    width = min(width, console.width // 4)
    for number, topic in enumerate(dict.fromkeys(one.topic for one in records)):
        console.print(Text(f"{chr(10) if number else ''}{topic}", "bold"))
        for state, name, text, fix in _rows([one for one in records if one.topic == topic]):
            _row(console, width, state, name, text)
            if fix:
                console.print(Text(f"{' ' * (MARGIN + STATE_WIDTH + MARGIN)}fix: {fix}"), soft_wrap=True)
    _verdict(console, [one for one in records if one.blocks], words)


def _rows(records: Sequence[DiagnosticRecord]) -> Iterator[tuple[Text, str, str, str]]:
    """Give the state, name, text and fix of each row; those that say no more than a version come last, as one."""
    short = [one for one in records if one.state is State.ok and one.version and not one.detail]
    if len(short) < MIN_GROUPED_RECORDS:
        short = []
    for one in records:
        if one not in short:
            yield _state(one), one.name, finding(one), one.fix if one.state is not State.ok else ""
    if short:
        text = ", ".join(f"{one.name} {one.version}" for one in short)
        name = f"all {len(short)}" if len(short) == len(records) else f"{len(short)} others"
        yield Text(State.ok.value, COLOURS[State.ok]), name, text, ""


def _state(one: DiagnosticRecord) -> Text:
    return Text(one.state.value, "bold red" if one.blocks else COLOURS[one.state])


def finding(one: DiagnosticRecord) -> str:
    """Say what was found; of what is broken also which plugin looked."""
    plugin = f"(plugin '{one.plugin}')" if one.state is State.broken and one.plugin != "core" else ""
    head = ", ".join(part for part in (one.version, one.detail) if part)
    return " ".join(part for part in (head, plugin) if part)


def _row(console: Console, width: int, state: Text, name: str, text: str) -> None:
    row = Table.grid(padding=(0, MARGIN, 0, 0), pad_edge=False)
    row.add_column(width=STATE_WIDTH)
    row.add_column(width=width, overflow="fold", style="cyan")
    row.add_column(width=max(console.width - 3 * MARGIN - STATE_WIDTH - width, 1), overflow="fold")
    row.add_row(state, name, text)
    console.print(Padding(row, (0, 0, 0, MARGIN)))


def _verdict(console: Console, reasons: Sequence[DiagnosticRecord], words: Sequence[str]) -> None:
    run = " ".join(["python -m framework", *map(shell_word, words)])
    if not reasons:
        console.print(Text.assemble("\n", ("can run here", "bold green"), f": {run}"), soft_wrap=True)
        return
    console.print(Text.assemble("\n", ("cannot run here", "bold red"), f": {run}"), soft_wrap=True)
    for one in reasons:
        text = " ".join(f"{one.name}: {finding(one)}".split())
        lines = textwrap.wrap(text, console.width - 2 * MARGIN, break_long_words=False, break_on_hyphens=False)
        console.print(Text(textwrap.indent("\n".join(lines), " " * MARGIN)), soft_wrap=True)
        if one.fix:
            console.print(Text(f"{' ' * 2 * MARGIN}fix: {one.fix}"), soft_wrap=True)
