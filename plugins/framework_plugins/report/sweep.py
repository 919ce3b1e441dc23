"""The page of a sweep, `sweep.html` in its folder: the trials, the importance of settings, and a plot.

It loads nothing from elsewhere and runs no script; every text in it is escaped. Secrets were removed from the trials
before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.api import Sweep, Trial, override_key, write_atomically
from framework.api.program import brief, disagreement, figures, short_keys
from framework_plugins.report import parallel
from framework_plugins.report.importance import importances
from framework_plugins.report.page import template

SWEEP_FILE = "sweep.html"
MIN_TRIALS = 2
"""Trials that a drawing needs."""


def write(folder: Path, sweep: Sweep) -> None:
    """Put the page in place, whole or not at all."""
    write_atomically(folder / SWEEP_FILE, render(sweep, folder), errors="replace")


def render(sweep: Sweep, folder: Path) -> str:
    """Return the page that is to lie in `folder`."""
    names = list(dict.fromkeys(override_key(word) for trial in sweep.trials for word in trial.overrides))
    scored = [trial for trial in sweep.trials if trial.value is not None and math.isfinite(trial.value)]
    page: str = template("sweep.html.jinja").render(
        folder=sweep.folder,
        objective=sweep.objective or "objective",
        aim="higher is better" if sweep.higher_is_better else "lower is better",
        counts=_counts(sweep.trials),
        names=names,
        rows=[_row(trial, names, sweep, folder) for trial in sweep.trials],
        disagreement=disagreement(sweep),
        best=next((trial for trial in sweep.trials if trial.number == sweep.best), None),
        plot=_plot(names, scored, sweep) if len(scored) >= MIN_TRIALS else None,
        importances=importances(names, _table(scored, names), [trial.value or 0.0 for trial in scored]),
        scored=len(scored),
    )
    return page


def _counts(trials: Sequence[Trial]) -> str:
    """Count the trials of each state: `5 finished, 1 failed`."""
    states = [trial.state for trial in trials]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _row(trial: Trial, names: Sequence[str], sweep: Sweep, folder: Path) -> dict[str, Any]:
    value, seconds, memory, score = figures(trial)
    page = folder / str(trial.number) / "report.html"
    return {
        "number": trial.number,
        "settings": [brief(value) for value in _table([trial], names)[0]],
        "value": value,
        "seconds": seconds,
        "memory": memory,
        "score": score,
        "verdict": trial.verdict,
        "reason": trial.reason,
        "state": trial.state,
        "best": trial.number == sweep.best,
        "link": f"{trial.number}/report.html" if page.exists() else "",
    }


def _plot(names: Sequence[str], trials: Sequence[Trial], sweep: Sweep) -> dict[str, Any]:
    """Return the axes and lines of the trials that have an objective."""
    columns = [*zip(*_table(trials, names), strict=True), [str(trial.value) for trial in trials]]
    placed = parallel.axes([*short_keys(names), sweep.objective or "objective"], columns)
    sign = -1 if sweep.higher_is_better else 1
    order = sorted(trials, key=lambda trial: (sign * (trial.value or 0.0), trial.number))  # the best one first
    ranks = [1 - order.index(trial) / (len(trials) - 1) for trial in trials]
    titles = [f"trial {trial.number}: {', '.join(trial.overrides)} → {trial.value:.4g}" for trial in trials]
    return {
        "axes": [axis for axis, _ in placed],
        "lines": parallel.lines(placed, titles, ranks),
        "width": parallel.WIDTH,
        "height": parallel.HEIGHT,
    }


def _table(trials: Sequence[Trial], names: Sequence[str]) -> list[list[str]]:
    """Return for each trial the value of each setting, or a dash."""
    rows = []
    for trial in trials:
        own = {override_key(word): word.partition("=")[2] for word in trial.overrides}
        rows.append([own.get(name, "–") for name in names])
    return rows
