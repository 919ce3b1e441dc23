"""What the terminal shows of the data: facts, findings, and rows with what is learned in them marked."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console as Terminal
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from framework.api import DataResult, Finding, Severity, ViewedRow, count, visible
from framework.api.program import facts_of

BLOCKS = "▁▂▃▄▅▆▇█"
EMPTY_BIN = "·"
STYLES = {Severity.serious: "bold red", Severity.warning: "yellow", Severity.note: "dim"}
MAX_EXAMPLES = 3
LEARNED, CONTEXT = "bold green", "dim"
OPEN, CLOSE = "⟦", "⟧"
MAX_PIECE_CHARS = 600
"""Characters of a piece; the middle of a longer one is left out."""
MAX_PIECES = 12
"""Pieces of a row; a long conversation has many."""


def facts(data: DataResult, without: Collection[str] = ()) -> dict[str, Text]:
    """Return the facts about the data by name, for a table of two columns; those of `without` only if amiss."""
    rows = {}
    for fact in facts_of(data):
        if fact.name in without and not fact.amiss:
            continue
        text = (fact.short if without else "") or fact.text
        rows[fact.name] = Text("\n").join(
            [Text(text, style="yellow" if fact.amiss else ""), *(Text(line, style="dim") for line in fact.more)]
        )
        if fact.name == "lengths":
            rows[fact.name].append(f"\n{histogram(data)}")
    return rows


def histogram(data: DataResult) -> str:
    """Draw how many rows are how long, in one line."""
    lengths = data.lengths
    highest = max(lengths.histogram)
    bars = [BLOCKS[round(rows / highest * (len(BLOCKS) - 1))] if rows else EMPTY_BIN for rows in lengths.histogram]
    verb = "is" if lengths.beyond == 1 else "are"
    longer = f"; {count(lengths.beyond, 'row')} {verb} longer, up to {lengths.longest:,}" if lengths.beyond else ""
    return f"1 {''.join(bars)} {lengths.edges[-1]:,} tokens{longer}"


def show_findings(out: Terminal, findings: Sequence[Finding], audits: Iterable[str]) -> None:
    """Print what the audits found, the worst first."""
    names = ", ".join(audits)
    if not names and not findings:
        return
    if not findings:
        out.print(Text.assemble(("audit", "bold"), f" ({names}): nothing found"))
        out.print()
        return
    counts = {kind: sum(finding.severity is kind for finding in findings) for kind in STYLES}
    summary = ", ".join(_count_kind(kind, amount) for kind, amount in counts.items() if amount)
    table = Table(
        box=None, show_header=False, pad_edge=False, title=f"audit: {summary}", title_justify="left", title_style="bold"
    )
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(Text(finding.severity.value, style=STYLES[finding.severity]), _finding(finding))
    out.print(table)
    out.print()


def note_names(findings: Sequence[Finding]) -> str:
    """Count and name the notes; empty without one."""
    names = [finding.name for finding in findings if finding.severity is Severity.note]
    return f"{_count_kind(Severity.note, len(names))}: {', '.join(names)}" if names else ""


def _count_kind(kind: Severity, amount: int) -> str:
    return f"{amount} {kind.value}{'s' if amount > 1 and kind is not Severity.serious else ''}"


def _finding(finding: Finding) -> Group:
    """Write a finding: with advice and a line for each example, or a note in short."""
    lines: list[Text | Padding] = [Text.assemble((finding.name, "bold"), f": {visible(finding.text, '⏎')}")]
    if finding.severity is not Severity.note:
        lines.append(Text(f"→ {finding.advice}", style="cyan"))
        for example in finding.examples[:MAX_EXAMPLES]:
            line = Text(visible(example, "⏎"), style="dim", no_wrap=True, overflow="ellipsis")
            lines.append(Padding(line, (0, 0, 0, 2)))
    return Group(*lines)


def show_rows(out: Terminal, rows: Sequence[ViewedRow]) -> None:
    """Print rows as the model will see them; without colours learned text is in brackets."""
    marked = not out.is_terminal or out.no_color
    legend = f"learned text is in {OPEN} {CLOSE}" if marked else Text("learned text is green", style=LEARNED)
    if rows:
        out.print(Text.assemble(("rows as the model sees them", "bold"), "; ", legend))
    for row in rows:
        out.print(Text(row.where, style="cyan"))
        out.print(Padding(_row(row, marked=marked), (0, 0, 1, 2)))


def _row(row: ViewedRow, *, marked: bool) -> Text:
    pieces = row.pieces
    half = MAX_PIECES // 2
    text = Text(overflow="fold")
    for index, piece in enumerate(pieces):
        if len(pieces) > MAX_PIECES and half <= index < len(pieces) - half:
            if index == half:
                text.append(f" … {len(pieces) - MAX_PIECES} parts left out … ", style="italic")
            continue
        words = _shorten(piece.text)
        text.append(
            f"{OPEN}{words}{CLOSE}" if marked and piece.learned else words, LEARNED if piece.learned else CONTEXT
        )
    text.rstrip()
    return text


def _shorten(text: str) -> str:
    half = MAX_PIECE_CHARS // 2
    return visible(text if len(text) <= MAX_PIECE_CHARS else f"{text[:half]} … {text[-half:]}")
