"""The dots and the heat map of a sweep: what each point scored, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from framework.api import Sweep, Trial, number, override_key
from framework.api.program import brief, settings_text
from framework_plugins.report.importance import as_numbers

FEW = 8
"""Values of a setting that a heat map has room for."""
SHADES = 5
"""Shades of a heat map, in the style."""
SEED = "seed"


@dataclass(frozen=True)
class Dot:
    """A point, in percent of the width: its value, its interval, and its seeds."""

    name: str
    label: str
    standing: str
    value: str
    at: float
    low: float
    high: float
    seeds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Dots:
    """The dots, and the values at the left and at the right end."""

    rows: list[Dot]
    first: str
    last: str


@dataclass(frozen=True)
class Heat:
    """A table of two settings: the names, the values of the columns, and rows of cells: text, shade, standing."""

    names: tuple[str, str]
    columns: list[str]
    rows: list[tuple[str, list[tuple[str, int, str]]]]


def dot_plot(sweep: Sweep) -> Dots | None:
    """Return a dot for each point; None if there are none."""
    points = sweep.points
    if not points:
        return None
    name, unit = sweep.objective or "objective", sweep.ranking.unit if sweep.ranking else ""
    values = {trial.number: trial.value for trial in sweep.trials}
    spans = [[end for end in (point.value, point.low, point.high) if end is not None] for point in points]
    low, high = (end(value for span in spans for value in span if math.isfinite(value)) for end in (min, max))
    if sweep.ranking and all(number(end, name, unit).endswith("%") for end in (low, high)):
        low, high = 0.0, 1.0
    width = high - low or 1.0

    def place(value: float) -> float:
        return round(min(max((value - low) / width, 0.0), 1.0) * 96 + 2, 2)

    several = any(len(point.trials) > 1 for point in points)
    named = [_remove_seed(trial) if several else trial for trial in sweep.trials]
    labels = dict(zip(values, settings_text(named), strict=True))
    rows = [
        Dot(
            f"{'trials' if len(point.trials) > 1 else 'trial'} {', '.join(map(str, point.trials))}",
            labels[point.trials[0]],
            point.standing.value if sweep.ranking else "",
            number(point.value, name, unit),
            place(point.value),
            place(min(span)),
            place(max(span)),
            [
                place(trial_value)
                for trial_number in point.trials
                if len(point.trials) > 1 and (trial_value := values[trial_number]) is not None
            ],
        )
        for point, span in zip(points, spans, strict=True)
    ]
    return Dots(rows, number(low, name, unit), number(high, name, unit))


def _remove_seed(trial: Trial) -> Trial:
    return replace(trial, overrides=[word for word in trial.overrides if override_key(word) != SEED])


def heat_map(sweep: Sweep, names: Sequence[str]) -> Heat | None:
    """Return a heat map if two settings have a few values each and most of the cells are tried; None otherwise."""
    two = [name for name in names if name != SEED]
    if len(two) != 2 or not sweep.ranking:  # noqa: PLR2004 - a table has two sides
        return None
    settings = {
        trial.number: {override_key(word): word.partition("=")[2] for word in trial.overrides} for trial in sweep.trials
    }
    cells = {
        (trial_settings[two[0]], trial_settings[two[1]]): point
        for point in sweep.ranking.points
        if set(two) <= (trial_settings := settings[point.trials[0]]).keys()
    }
    down, across = (_sort_numbers(list(dict.fromkeys(key[side] for key in cells))) for side in (0, 1))
    is_small = all(1 < len(side) <= FEW for side in (down, across))
    if not is_small or 2 * len(cells) < len(down) * len(across):
        return None
    values = [point.value for point in cells.values()]
    worst, best = sorted((min(values), max(values)), reverse=not sweep.higher_is_better)
    name, unit = sweep.objective or "", sweep.ranking.unit

    def cell(key: tuple[str, str]) -> tuple[str, int, str]:
        point = cells.get(key)
        if point is None:
            return "", 0, ""
        share = (point.value - worst) / (best - worst) if best != worst else 1.0
        standing = "best" if sweep.best in point.trials else point.standing.value
        return number(point.value, name, unit), 1 + round(share * (SHADES - 1)), standing

    rows = [(brief(row), [cell((row, column)) for column in across]) for row in down]
    return Heat((two[0], two[1]), [brief(column) for column in across], rows)


def _sort_numbers(values: list[str]) -> list[str]:
    numbers = as_numbers(values)
    return values if numbers is None else [value for _, value in sorted(zip(numbers, values, strict=True))]
