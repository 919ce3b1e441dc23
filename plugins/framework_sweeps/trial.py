"""What the process of a point knows of its trial, and whether the point is worth going on with."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from framework.records import Step

VARIABLE = "FRAMEWORK_SWEEP_TRIAL"
"""The environment variable of a point that says where its trial is kept; it reaches processes of its own too."""


@dataclass(frozen=True)
class Place:
    """Where a trial is kept, and what gives it up. `pruner` names one of `config.Pruner`."""

    storage: str
    study: str
    number: int
    pruner: str
    startup: int
    factor: int

    def text(self) -> str:
        """Write it for `VARIABLE`."""
        return json.dumps(dataclasses.asdict(self))


def place() -> Place | None:
    """Return the trial of this process; None where it is no point of such a sweep."""
    text = os.environ.get(VARIABLE)
    return Place(**json.loads(text)) if text else None


def hopeless(trial: Place, step: Step) -> Iterator[str]:
    """Report a validation loss, and say why the point is given up, if it is.

    Validations are compared by their number: the second one of a point with the second ones of others. The last one
    gives nothing up, there is nothing left to save.
    """
    import optuna  # noqa: PLC0415 - only points of a sweep that prunes need it

    study = _study(trial.storage, trial.study, trial.pruner, trial.startup, trial.factor)
    frozen = study.get_trials(deepcopy=False)[trial.number]
    # The sampler of this study draws nothing, so the trial keeps its values.
    handle = optuna.trial.Trial(study, frozen._trial_id)  # noqa: SLF001 - no public way to another process's trial
    number = len(frozen.intermediate_values) + 1
    loss = step.eval_loss
    assert loss is not None  # noqa: S101 - the caller looked
    # A pruner compares as the study does: where more is better, it has to be shown what is more.
    handle.report(-loss if study.direction is optuna.study.StudyDirection.MAXIMIZE else loss, number)
    if handle.should_prune() and step.step < step.total_steps:
        yield f"{trial.pruner} gives it up: a validation loss of {loss:.4g} at validation {number} is far from the best"


@functools.lru_cache(maxsize=1)
def _study(storage: str, study: str, pruner: str, startup: int, factor: int) -> Any:
    import optuna  # noqa: PLC0415 - as above

    from framework_sweeps.config import Pruner  # noqa: PLC0415 - as above
    from framework_sweeps.storage import open_storage  # noqa: PLC0415 - as above
    from framework_sweeps.study import make_pruner  # noqa: PLC0415 - as above

    return optuna.load_study(
        study_name=study,
        storage=open_storage(storage),
        sampler=optuna.samplers.RandomSampler(),
        pruner=make_pruner(Pruner(pruner), startup, factor),
    )
