"""The sweep: ask the study for trials, let the launcher run them, report their outcomes to the study.

Everything that must survive a kill is in the study. A trial notes its owner (`owner.py`); one whose process is gone is
put into the queue again, for the same folder.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from framework import FrameworkError
from framework.api.program import is_resumed
from framework_plugins.sweeps.completed import begun_trials, show_study, study_is_complete
from framework_plugins.sweeps.config import Optuna5Config, Pruner, Sampler
from framework_plugins.sweeps.outcome import Outcome, make_outcome
from framework_plugins.sweeps.owner import (
    AGAIN_KEY,
    FOLDER_KEY,
    POINT_KEY,
    PROCESS_KEY,
    is_alive,
    is_elsewhere,
    note_owner,
)
from framework_plugins.sweeps.space import Space, as_words, read_space
from framework_plugins.sweeps.storage import storage_of
from framework_plugins.sweeps.study import check_space, direction, open_study
from framework_plugins.sweeps.trial import TrialPlace

RESULTS_FILE = "optimization_results.yaml"
TAKEN_OVER = "the result of this process is in its folder, the study uses the result of the other one"


class OptunaSweep:
    """One call of `hydra/sweeper=optuna5`.

    Args:
        settings: those below `hydra.sweeper`.
        config: the whole config, without what is swept over.
        loader: Hydra's, which knows the options of groups.
        launcher: runs the trials.
    """

    def __init__(self, settings: Optuna5Config, config: DictConfig, loader: ConfigLoader, launcher: Launcher) -> None:
        self.settings = settings
        self.config = config
        self.loader = loader
        self.launcher = launcher
        self.folder = Path(config.hydra.sweep.dir).absolute()
        self.name = settings.study_name or str(config.name)
        self.storage = storage_of(settings, self.folder)
        self.listed = False  # whether all combinations are tried once

    def run(self, arguments: Sequence[str]) -> None:
        """Run trials until the study has enough of them.

        Raises:
            FrameworkError: the overrides are wrong, or a trial failed; then the others have run anyway.
        """
        params = [f"{key}={value}" for key, value in (self.settings.params or {}).items()]
        space = read_space(self.loader, [*params, *arguments])
        if self.settings.sampler is Sampler.grid and space.combinations == math.inf:
            endless = ", ".join(space.distributions.keys() - space.values.keys())
            raise FrameworkError(
                f"hydra.sweeper.sampler=grid: {endless} is an interval, which has infinitely many values: give a list"
            )
        better = direction(self.settings, self.config)
        study = open_study(self.settings, self.name, self.storage, better)
        check_space(study, space)
        self.folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, self.folder / "multirun.yaml")
        self._queue_again(study)
        # A sampler that has as many trials as there are combinations would repeat some, and leave others out.
        self.listed = self.settings.sampler is Sampler.grid or space.combinations <= self.settings.n_trials
        if self.listed:
            for values in itertools.product(*space.values.values()):
                chosen = dict(zip(space.values, values, strict=True))
                params_of = {key: _typed(space, key, value) for key, value in chosen.items()}
                study.enqueue_trial(params_of, skip_if_exists=True)
        failed: list[Exception] = []
        if not self._next_count(study):
            print(study_is_complete(study, self.settings, is_grid=self.listed))  # noqa: T201
            if not is_resumed(self.config.hydra):  # the table of the folder would tell the same
                show_study(study)
        while count := self._next_count(study):
            failed += self._batch(study, space, count)
            self._save(study)
        if failed:
            raise failed[0]

    def _batch(self, study: optuna.Study, space: Space, count: int) -> list[Exception]:
        """Run `count` trials at the same time, and return the errors of those that failed."""
        trials = [study.ask(fixed_distributions=dict(space.distributions)) for _ in range(count)]
        points = [self._note_owner(study, trial) for trial in trials]
        words = [
            [*space.fixed, *as_words(trial.params), *self._hydra_overrides(trial.number, point)]
            for trial, point in zip(trials, points, strict=True)
        ]
        results: Sequence[JobReturn | None] = [None] * count
        launcher_error: Exception | None = None
        try:
            results = self.launcher.launch(words, initial_job_idx=points[0])
        except Exception as error:  # noqa: BLE001 - a launcher whose worker was killed; what the folders tell counts
            launcher_error = error
        failed: list[Exception] = []
        for trial, point, result in zip(trials, points, results, strict=True):
            maximize = study.direction is StudyDirection.MAXIMIZE
            outcome = make_outcome(self.folder / str(point), result, launcher_error, maximize=maximize)
            if not _report_outcome(study, trial, outcome):
                print(f"trial {point}: another process took it over and runs it again; {TAKEN_OVER}", file=sys.stderr)  # noqa: T201
            failed += [outcome.error] if outcome.error else []
        return failed

    def _hydra_overrides(self, trial_number: int, point: int) -> list[str]:
        """Return the overrides that set the folder of a trial, and name the trial to its process for pruning."""
        words = [f"hydra.sweep.subdir='{point}'"]
        settings = self.settings
        if settings.pruner is not Pruner.none:
            location = TrialPlace(
                self.storage, self.name, trial_number, settings.pruner.value, settings.n_startup_trials,
                settings.reduction_factor,
            )  # fmt: skip
            words += location.words()
        return words

    def _note_owner(self, study: optuna.Study, trial: optuna.Trial) -> int:
        """Note the owner of the trial, and return the number of its job in the folder."""
        if POINT_KEY not in trial.user_attrs:
            # Not the number of the trial: the study may have trials of other folders and machines.
            numbers = [
                earlier.user_attrs[POINT_KEY] for earlier in self._own_trials(study) if POINT_KEY in earlier.user_attrs
            ]
            trial.set_user_attr(POINT_KEY, max(numbers, default=-1) + 1)
        note_owner(trial, self.folder)
        return int(trial.user_attrs[POINT_KEY])

    def _own_trials(self, study: optuna.Study) -> list[FrozenTrial]:
        """Return the trials of this folder; of its own file all are, also one that could not note it any more."""
        trials = study.get_trials(deepcopy=False)
        return [
            trial
            for trial in trials
            if self.settings.storage is None or trial.user_attrs.get(FOLDER_KEY) == str(self.folder)
        ]

    def _queue_again(self, study: optuna.Study) -> None:
        """Put trials into the queue again whose process was killed, and in a resumed sweep those that failed.

        Trials of another machine are assumed to be killed only in a resumed sweep; this machine cannot see it.

        Raises:
            FrameworkError: a sweep is running in this folder.
        """
        trials = self._own_trials(study)
        again = {trial.user_attrs.get(AGAIN_KEY) for trial in trials}
        resumed = is_resumed(self.config.hydra)
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                if is_elsewhere(trial) and not resumed:
                    continue
                if is_alive(trial):
                    process = f"process {trial.user_attrs[PROCESS_KEY]}"
                    raise FrameworkError(
                        f"{self.folder}: locked by {process}. Wait for it to finish or set hydra.sweep.dir=FOLDER"
                    )
                if study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True).state is not TrialState.FAIL:
                    continue  # its machine was still there, and has just reported the outcome
            elif trial.state is not TrialState.FAIL or trial.number in again or not resumed:
                continue
            point = trial.user_attrs.get(POINT_KEY)
            attributes = {AGAIN_KEY: trial.number} if point is None else {AGAIN_KEY: trial.number, POINT_KEY: point}
            study.enqueue_trial(trial.params, user_attrs=attributes)

    def _next_count(self, study: optuna.Study) -> int:
        """Return how many trials to run now; 0 if the study has enough."""
        waiting = sum(trial.state is TrialState.WAITING for trial in study.get_trials(deepcopy=False))
        remaining = waiting if self.listed else self.settings.n_trials - len(begun_trials(study))
        return max(0, min(self._parallel_trials(), remaining))

    def _parallel_trials(self) -> int:
        if self.settings.n_jobs is not None:
            return self.settings.n_jobs
        jobs = OmegaConf.select(self.config.hydra, "launcher.n_jobs")
        return jobs if isinstance(jobs, int) and jobs > 0 else os.cpu_count() or 1 if jobs == -1 else 1

    def _save(self, study: optuna.Study) -> None:
        """Write the best trial so far, as sweepers of Hydra do."""
        complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state is TrialState.COMPLETE]
        if complete:
            best: dict[str, Any] = {"name": "optuna5", "best_params": study.best_params, "best_value": study.best_value}
            OmegaConf.save(OmegaConf.create(best), self.folder / RESULTS_FILE)


def _report_outcome(study: optuna.Study, trial: optuna.Trial, outcome: Outcome) -> bool:
    """Report the outcome of a trial to the study; False if the trial was taken over, so it no longer counts."""
    failure = TrialState.PRUNED if outcome.given_up else TrialState.FAIL
    state = failure if outcome.value is None else TrialState.COMPLETE
    try:
        if outcome.reason:
            trial.set_user_attr("reason", outcome.reason)
        return study.tell(trial, outcome.value, state, skip_if_finished=True).state is state
    except UpdateFinishedTrialError:
        return False


def _typed(space: Space, key: str, value: str) -> object:
    """Return a value of a grid as its distribution has it."""
    kind = space.distributions[key]
    if isinstance(kind, optuna.distributions.CategoricalDistribution):
        return value
    return int(value) if isinstance(kind, optuna.distributions.IntDistribution) else float(value)
