"""The page of a sweep, `sweep.html` in its folder: the trials, the importance of settings, and a plot.

It loads nothing from elsewhere and runs no script; every text in it is escaped. Secrets were removed from the trials
before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.api.files import write_whole
from framework.api.records import Point, Sweep
from framework.api.text import figures, override_key
from framework_plugins.report import parallel
from framework_plugins.report.importance import importances
from framework_plugins.report.page import template

FILE = "sweep.html"
ENOUGH = 2
"""Points that a drawing needs."""
LONG = 9
"""Characters of a number from which on it is shortened in the table."""


def write(folder: Path, sweep: Sweep) -> None:
    """Put the page in place, whole or not at all."""
    write_whole(folder / FILE, render(sweep, folder), errors="replace")


def render(sweep: Sweep, folder: Path) -> str:
    """Return the page that is to lie in `folder`."""
    names = list(dict.fromkeys(override_key(word) for point in sweep.points for word in point.overrides))
    scored = [point for point in sweep.points if point.value is not None and math.isfinite(point.value)]
    page: str = template("sweep.html.jinja").render(
        folder=sweep.folder,
        objective=sweep.objective or "objective",
        aim="higher is better" if sweep.higher_is_better else "lower is better",
        counts=_counts(sweep.points),
        names=names,
        rows=[_row(point, names, sweep, folder) for point in sweep.points],
        best=next((point for point in sweep.points if point.number == sweep.best), None),
        plot=_plot(names, scored, sweep) if len(scored) >= ENOUGH else None,
        importances=importances(names, _table(scored, names), [point.value or 0.0 for point in scored]),
        scored=len(scored),
    )
    return page


def _counts(points: Sequence[Point]) -> str:
    """Count the trials of each state: `5 finished, 1 failed`."""
    states = [point.state for point in points]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _row(point: Point, names: Sequence[str], sweep: Sweep, folder: Path) -> dict[str, Any]:
    value, seconds, memory, score = figures(point)
    page = folder / str(point.number) / "report.html"
    return {
        "number": point.number,
        "settings": [_brief(value) for value in _table([point], names)[0]],
        "value": value,
        "seconds": seconds,
        "memory": memory,
        "score": score,
        "verdict": point.verdict,
        "reason": point.reason,
        "state": point.state,
        "best": point.number == sweep.best,
        "link": f"{point.number}/report.html" if page.exists() else "",
    }


def _brief(value: str) -> str:
    """Write a number with many places as a short one; the best trial is shown with all of them."""
    if len(value) <= LONG:
        return value
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value


def _plot(names: Sequence[str], points: Sequence[Point], sweep: Sweep) -> dict[str, Any]:
    """Return the axes and lines of the trials that have an objective."""
    columns = [*zip(*_table(points, names), strict=True), [str(point.value) for point in points]]
    placed = parallel.axes([*_short(names), sweep.objective or "objective"], columns)
    sign = -1 if sweep.higher_is_better else 1
    order = sorted(points, key=lambda point: (sign * (point.value or 0.0), point.number))  # the best one first
    ranks = [1 - order.index(point) / (len(points) - 1) for point in points]
    titles = [f"trial {point.number}: {', '.join(point.overrides)} → {point.value:.4g}" for point in points]
    return {
        "axes": [axis for axis, _ in placed],
        "lines": parallel.lines(placed, titles, ranks),
        "width": parallel.WIDTH,
        "height": parallel.HEIGHT,
    }


def _short(names: Sequence[str]) -> list[str]:
    """Shorten keys to their last part if that is unique: there is little space above an axis."""
    last = [name.rpartition(".")[2] for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names, strict=True)]


def _table(points: Sequence[Point], names: Sequence[str]) -> list[list[str]]:
    """Return for each trial the value of each setting, or a dash."""
    found = []
    for point in points:
        own = {override_key(word): word.partition("=")[2] for word in point.overrides}
        found.append([own.get(name, "–") for name in names])
    return found
