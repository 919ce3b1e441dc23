"""Messages about a study that already has all its trials."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from framework.api import display_path
from framework_plugins.sweeps.config import Optuna5Config
from framework_plugins.sweeps.owner import AGAIN_KEY, FOLDER_KEY, POINT_KEY
from framework_plugins.sweeps.space import as_words

STATE_NAMES = {TrialState.FAIL: "failed", TrialState.PRUNED: "pruned", TrialState.RUNNING: "running"}


def begun_trials(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials of a study that began, without those that were or will be run again."""
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get(AGAIN_KEY) for trial in trials}
    return [trial for trial in trials if trial.state is not TrialState.WAITING and trial.number not in again]


def study_is_complete(study: optuna.Study, settings: Optuna5Config, *, is_grid: bool) -> str:
    """Report that a study has all its trials, and how to add some."""
    count = len(begun_trials(study))
    if is_grid:
        return f"the study '{study.study_name}' has all {count} trials of its grid"
    advice = f"hydra.sweeper.n_trials={count + settings.n_trials} would add {settings.n_trials}"
    return f"the study '{study.study_name}' has its {count} trials: {advice}"


def show_study(study: optuna.Study) -> None:
    """Print the trials of a study, those of all its sweeps, and the best of them."""
    trials = begun_trials(study)
    table = Table(title=f"study '{study.study_name}'", title_justify="left")
    for heading in ("trial", "settings", "objective", "folder"):
        table.add_column(heading, overflow="fold")
    for trial in trials:
        value = f"{trial.value:.4g}" if trial.state is TrialState.COMPLETE else STATE_NAMES[trial.state]
        table.add_row(str(trial.number), "\n".join(as_words(trial.params)), value, _folder(trial))
    console = Console(markup=False, emoji=False, highlight=False)  # a setting may be [exact_match]
    console.print(table)
    for best in _best(study, trials):
        console.print(f"best: trial {best.number} ({', '.join(as_words(best.params))})", soft_wrap=True)


def _best(study: optuna.Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [study.best_trial] if any(trial.state is TrialState.COMPLETE for trial in trials) else []


def _folder(trial: FrozenTrial) -> str:
    attrs = trial.user_attrs
    return (
        display_path(Path(attrs[FOLDER_KEY], str(attrs[POINT_KEY]))) if {FOLDER_KEY, POINT_KEY} <= attrs.keys() else ""
    )
