"""The page of a sweep, `sweep.html` in its folder: what differs, the trials, their curves, the importance of settings.

It loads nothing from elsewhere and runs no script; every text in it is escaped. Secrets were removed from the trials
before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.api import Sweep, Trial, override_key, write_atomically
from framework.api.program import brief, facts_of, figures, settings_text, short_keys, winner_text
from framework_plugins.report import charts, dots, parallel
from framework_plugins.report.html import LOG_FILE, read_steps
from framework_plugins.report.importance import importances
from framework_plugins.report.page import template

SWEEP_FILE = "sweep.html"
MIN_TRIALS = 2
"""Trials that a drawing needs."""
MIN_AXES = 2
"""Settings that parallel coordinates are drawn for: of one, the dots say all."""


def write(folder: Path, sweep: Sweep) -> None:
    """Write the page atomically."""
    write_atomically(folder / SWEEP_FILE, render(sweep, folder), errors="replace")


def render(sweep: Sweep, folder: Path) -> str:
    """Return the page that is to lie in `folder`."""
    names = list(dict.fromkeys(override_key(word) for trial in sweep.trials for word in trial.overrides))
    scored = [trial for trial in sweep.trials if trial.value is not None and math.isfinite(trial.value)]
    settings = dict(zip((trial.number for trial in sweep.trials), settings_text(sweep.trials), strict=True))
    best = next((trial for trial in sweep.trials if trial.number == sweep.best), None)
    heat = dots.heat_map(sweep, names)
    several = len(scored) >= MIN_TRIALS
    page: str = template("sweep.html.jinja").render(
        folder=sweep.folder,
        objective=sweep.objective or "objective",
        aim="higher is better" if sweep.higher_is_better else "lower is better",
        counts=_count_states(sweep.trials),
        names=list(zip(names, short_keys(names), strict=True)),
        rows=[_trial_row(trial, names, sweep, folder) for trial in sweep.trials],
        headline=winner_text(sweep),
        facts=list(facts_of(sweep)),
        best=best,
        best_link=_link(folder, best) if best else "",
        dots=dots.dot_plot(sweep) if several else None,
        heat=heat,
        curves=_curves(scored, settings, sweep, folder),
        plot=_plot(names, scored, sweep) if several and len(names) >= MIN_AXES and not heat else None,
        importances=importances(names, _table(scored, names), [trial.value or 0.0 for trial in scored])
        if several and len(names) > 1
        else [],
        scored=len(scored),
    )
    return page


def _link(folder: Path, trial: Trial) -> str:
    page = f"{trial.number}/report.html"
    return page if (folder / page).exists() else ""


def _curves(trials: Sequence[Trial], settings: Mapping[int, str], sweep: Sweep, folder: Path) -> charts.Overlay | None:
    """Return the validation losses of the trials over their steps, or the losses of the training without them."""
    order = sorted(trials, key=lambda trial: trial.number == sweep.best)  # the best one on top
    steps = {trial.number: read_steps(folder / str(trial.number) / LOG_FILE) for trial in order}
    titles = {trial.number: f"trial {trial.number}: {settings[trial.number]}" for trial in order}
    checks = {
        titles[trial_number]: [(step.step, step.eval_loss) for step in trial_steps if step.eval_loss is not None]
        for trial_number, trial_steps in steps.items()
    }
    losses = {
        titles[trial_number]: [(step.step, step.loss) for step in trial_steps]
        for trial_number, trial_steps in steps.items()
    }
    return charts.overlay("validation loss", checks) or charts.overlay("loss of the training", losses)


def _count_states(trials: Sequence[Trial]) -> str:
    """Count the trials of each state: `5 finished, 1 failed`."""
    states = [trial.state for trial in trials]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _trial_row(trial: Trial, names: Sequence[str], sweep: Sweep, folder: Path) -> dict[str, Any]:
    value, seconds, memory, score = figures(trial)
    points = sweep.ranking.points if sweep.ranking else []
    return {
        "number": trial.number,
        "settings": [brief(value) for value in _table([trial], names)[0]],
        "value": value,
        "standing": next((point.standing.value for point in points if trial.number in point.trials), ""),
        "seconds": seconds,
        "memory": memory,
        "score": score,
        "reason": trial.reason,
        "state": trial.state,
        "best": trial.number == sweep.best,
        "link": _link(folder, trial),
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
        settings = {override_key(word): word.partition("=")[2] for word in trial.overrides}
        rows.append([settings.get(name, "–") for name in names])
    return rows
