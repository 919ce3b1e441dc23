"""What a comparison comes to: as tables in the terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from framework.api import Change, MeasureKind, Outcome, count, number, visible
from framework.api.program import Comparison
from framework_plugins.evals.comparison.pairing import Compared, Figures

SCHEMA_VERSION = 1
TONES = {Outcome.better: "good", Outcome.worse: "lost"}
FINE, FINER = 0.1, 0.01
"""Widths of an interval of a share below which its bounds have one digit more, and two."""
SMALL_P, LEAST_P = 0.001, 0.0001


@dataclass(frozen=True)
class Row:
    """A line of the table: one system, and how it differs from another one."""

    system: str
    printed: str
    pair: str = ""
    difference: str = ""
    p_value: str = ""
    outcome: str = ""
    tone: str = "neutral"
    change: Change | None = None


def rows(result: Compared, figures: Figures) -> Iterator[Row]:
    """Give the lines of one measure: a system each, and one more for each comparison beyond the first."""
    for letter, printed in figures.printed.items():
        pairs = [
            comparison
            for comparison in result.comparisons
            if (comparison.measure, comparison.other) == (figures.name, letter)
        ]
        shown = printed or number(figures.values[letter], figures.name)
        if not pairs:
            yield Row(letter, shown)
        for comparison in pairs:
            change = comparison.change
            yield Row(
                letter if comparison is pairs[0] else "",
                shown if comparison is pairs[0] else "",
                f"{letter} − {comparison.one}",
                bounds(change),
                "" if change.p_value is None else p_text(change.p_value),
                _outcome_cell(change),
                TONES.get(change.outcome or Outcome.unknown, "neutral"),
                change,
            )


def bounds(change: Change) -> str:
    """Write the interval of a difference."""
    if change.low is None or change.high is None:
        return "not known"
    if _is_share(change):
        width = change.high - change.low
        digits = 0 if width >= FINE else 1 if width >= FINER else 2
        return f"{100 * change.low:+.{digits}f} to {100 * change.high:+.{digits}f} points"
    return f"{change.low:+.3g} to {change.high:+.3g}"


def p_text(value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if value < SMALL_P else f"{value:.2g}"


def outcome(change: Change) -> str:
    """Return the outcome of a comparison as text; empty if nothing was tested."""
    undecided = {Outcome.undecided, Outcome.no_worse}
    if change.outcome in undecided and change.before == change.after and change.p_value == 1:
        return "no difference on these items"
    return change.outcome.value if change.outcome else ""


def _outcome_cell(change: Change) -> str:
    """Return the outcome as the table shows it, with the loss that is ruled out."""
    text = outcome(change)
    if text == Outcome.no_worse.value and change.margin is not None:
        return f"no worse: a loss of {_size(change.margin, change)} is ruled out"
    return text


def _is_share(change: Change) -> bool:
    values = (change.before, change.after)
    return (
        change.margin is not None
        and not change.unit
        and change.kind is not MeasureKind.loss
        and all(value is not None and 0 <= value <= 1 for value in values)
    )


def _size(value: float, change: Change) -> str:
    return f"{100 * value:.3g} points" if _is_share(change) else f"{value:.3g}"


def headline(result: Compared) -> list[str]:
    """Return a sentence about the differences for each pair of systems."""
    lines = []
    for pair in dict.fromkeys((comparison.one, comparison.other) for comparison in result.comparisons):
        measures_by_outcome: dict[str, list[str]] = {}
        for comparison in sorted(
            result.comparisons, key=lambda comparison: [*Outcome].index(comparison.change.outcome or Outcome.unknown)
        ):
            if (comparison.one, comparison.other) == pair and comparison.change.outcome:
                measures_by_outcome.setdefault(outcome(comparison.change), []).append(comparison.measure)
        words = [f"{text} in {', '.join(names)}" for text, names in measures_by_outcome.items()]
        lines.append(f"{pair[1]} against {pair[0]}: {'; '.join(words) or 'nothing could be compared'}.")
    return lines


def why(result: Compared) -> str:
    """Say why these figures differ from those that the tools print."""
    parts = ["each item is compared with itself"]
    grouped = [figures for figures in result.measures if figures.clusters]
    if grouped:
        parts.append(
            f"similar items count as one cluster ({grouped[0].items} items of {grouped[0].name} are "
            f"{count(grouped[0].clusters, 'cluster')})"
        )
    total = sum(comparison.p_value is not None for comparison in result.comparisons)
    if total > 1:
        parts.append(f"p and the intervals allow for {total} comparisons")
    line = f"Here {', '.join(parts[:-1])}{', and ' if parts[1:] else ''}{parts[-1]}."
    if result.unpaired:
        (name, _, letter), value = min(result.unpaired.items(), key=lambda pair: pair[1])
        p = f"= {value:.2g}" if value >= LEAST_P else f"< {LEAST_P}"
        line = (
            f"Each ± is the standard error of one system by itself, and an unpaired test of them gives p {p} for "
            f"{visible(name, ' ')} of {letter}. {line}"
        )
    return line


def show(result: Compared, console: Console) -> None:
    """Print the tables."""
    for letter, evaluation in result.systems.items():
        console.print(
            Text.assemble((f"{letter}  ", "bold"), f"{visible(evaluation.place, ' ')}  ", (evaluation.tool, "dim")),
            soft_wrap=True,
        )
    console.print()
    for line in headline(result):
        console.print(visible(line, " "))
    for figures in result.measures:
        console.print()
        console.print(_table(result, figures))
    console.print()
    console.print(Text(why(result), "dim"))
    for note in result.notes:
        console.print(Text(visible(note, " "), "dim"))


def about(figures: Figures) -> str:
    """Return the caption of a measure: its name, items and clusters, and how many items have no score."""
    groups = f" in {count(figures.clusters, 'cluster')}" if figures.clusters else ""
    suffix = "".join(
        f", {letter}: {absent_count} without a score"
        for letter, absent_count in figures.missing.items()
        if absent_count
    )
    way = "" if figures.higher_is_better else ", lower is better"
    return f"{figures.name}: {count(figures.items, 'item')}{groups}{way}{suffix}"


def heading(result: Compared) -> str:
    """Return the heading of the differences."""
    return f"difference ({result.choices.confidence:.0%})"


def _table(result: Compared, figures: Figures) -> Table:
    table = Table(
        title=visible(about(figures), " "), title_justify="left", title_style="bold", box=None, pad_edge=False,
        padding=(0, 2, 0, 0),
    )  # fmt: skip
    for name in ("", "printed", "", heading(result), "p", ""):
        table.add_column(name)
    for row in rows(result, figures):
        style = {"good": "green", "lost": "red"}.get(row.tone, "")
        table.add_row(row.system, row.printed, row.pair, row.difference, row.p_value, Text(row.outcome, style))
    return table


def as_json(result: Compared, failing: list[Comparison]) -> dict[str, Any]:
    """Return what `--json` prints; `compare.schema.json` describes it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "confidence": result.choices.confidence,
        "systems": {
            letter: {"place": evaluation.place, "tool": evaluation.tool}
            for letter, evaluation in result.systems.items()
        },
        "measures": [
            {
                "name": figures.name,
                "higher_is_better": figures.higher_is_better,
                "items": figures.items,
                "clusters": figures.clusters,
                "systems": {
                    letter: {
                        "value": _finite_or_none(figures.values[letter]),
                        "printed": figures.printed[letter],
                        "missing": figures.missing[letter],
                    }
                    for letter in result.systems
                },
                "comparisons": [
                    _comparison(result, comparison)
                    for comparison in result.comparisons
                    if comparison.measure == figures.name
                ],
            }
            for figures in result.measures
        ],
        "failing": [
            {"measure": comparison.measure, "one": comparison.one, "other": comparison.other} for comparison in failing
        ],
        "why": why(result),
        "notes": list(result.notes),
    }


def _comparison(result: Compared, comparison: Comparison) -> dict[str, Any]:
    change = comparison.change
    difference = None if None in {change.before, change.after} else (change.after or 0.0) - (change.before or 0.0)
    return {
        "one": comparison.one,
        "other": comparison.other,
        "difference": _finite_or_none(difference),
        "low": change.low,
        "high": change.high,
        "p_value": change.p_value,
        "p_value_alone": comparison.p_value,
        "p_value_unpaired": result.unpaired.get((comparison.measure, comparison.one, comparison.other)),
        "outcome": change.outcome.value if change.outcome else None,
        "margin": _finite_or_none(change.margin),
        "least": _finite_or_none(change.least),
    }


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
