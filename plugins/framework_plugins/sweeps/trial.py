"""The trial of this process, and whether it is pruned."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from framework.api import Step

TRIAL_VARIABLE, STORAGE_VARIABLE = "FRAMEWORK_SWEEP_TRIAL", "FRAMEWORK_SWEEP_STORAGE"
"""The environment variables that name the trial of a process, and its storage; child processes inherit them. The
storage is separate: Hydra resolves it in the process of the trial, so that a password is in no file."""


@dataclass(frozen=True)
class TrialPlace:
    """Where a trial is stored, and what prunes it. `pruner` names one of `config.Pruner`."""

    storage: str
    study: str
    number: int
    pruner: str
    startup: int
    factor: int

    def words(self) -> list[str]:
        """Write it as overrides of a trial; a URL as the one of the config, unresolved."""
        fields = dataclasses.asdict(self)
        storage = fields.pop("storage")
        storage_text = "${hydra.sweeper.storage}" if "://" in storage else _quoted(storage)
        values = {TRIAL_VARIABLE: _quoted(json.dumps(fields)), STORAGE_VARIABLE: storage_text}
        return [f"++hydra.job.env_set.{name}={value}" for name, value in values.items()]


def _quoted(text: str) -> str:
    return str(QuotedString(text, Quote.single).with_quotes())


def current_trial() -> TrialPlace | None:
    """Return the trial of this process; None if it is not part of such a sweep."""
    text = os.environ.get(TRIAL_VARIABLE)
    return TrialPlace(storage=os.environ[STORAGE_VARIABLE], **json.loads(text)) if text else None


def prune_reason(trial: TrialPlace, step: Step) -> Iterator[str]:
    """Report a validation loss, and yield the reason if the trial is pruned.

    Validations are compared by their number: the second one of a trial with the second ones of others. The last one
    prunes nothing, since there is nothing left to save.
    """
    import optuna  # noqa: PLC0415 - only a sweep that prunes needs it

    study = _study(trial.storage, trial.study, trial.pruner, trial.startup, trial.factor)
    frozen = study.get_trials(deepcopy=False)[trial.number]
    # The sampler of this study draws nothing, so the trial keeps its values.
    handle = optuna.trial.Trial(study, frozen._trial_id)  # noqa: SLF001 - no public way to another process's trial
    ordinal = len(frozen.intermediate_values) + 1
    loss = step.eval_loss
    assert loss is not None  # noqa: S101 - the caller looked
    # A pruner compares as the study does: where more is better, it has to be shown what is more.
    try:
        handle.report(-loss if study.direction is optuna.study.StudyDirection.MAXIMIZE else loss, ordinal)
    except optuna.exceptions.UpdateFinishedTrialError:  # it was taken over, and no longer belongs to this process
        return
    if handle.should_prune() and step.step < step.total_steps:
        yield f"pruned by {trial.pruner}: a validation loss of {loss:.4g} at validation {ordinal} is far from the best"


@functools.lru_cache(maxsize=1)
def _study(storage: str, study: str, pruner: str, startup: int, factor: int) -> Any:
    import optuna  # noqa: PLC0415 - as above

    from framework_plugins.sweeps.config import Pruner  # noqa: PLC0415 - as above
    from framework_plugins.sweeps.storage import open_storage  # noqa: PLC0415 - as above
    from framework_plugins.sweeps.study import make_pruner  # noqa: PLC0415 - as above

    return optuna.load_study(
        study_name=study,
        storage=open_storage(storage),
        sampler=optuna.samplers.RandomSampler(),
        pruner=make_pruner(Pruner(pruner), startup, factor),
    )
