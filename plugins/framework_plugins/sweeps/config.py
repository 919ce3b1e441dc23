"""The settings below `hydra.sweeper` of `hydra/sweeper=optuna5`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Len


class Sampler(Enum):
    """How the next trial is chosen."""

    tpe = "tpe"
    random = "random"
    grid = "grid"
    cmaes = "cmaes"


class Pruner(Enum):
    """Which trials are stopped before their training ends."""

    none = "none"
    median = "median"
    asha = "asha"


class Direction(Enum):
    """Whether a lower or a higher objective is better."""

    minimize = "minimize"
    maximize = "maximize"


@dataclass
class Optuna5Config:
    """Trials that Optuna chooses by the results of earlier trials."""

    _target_: str = "hydra_plugins.framework_optuna5.sweeper.Optuna5Sweeper"
    sampler: Sampler = Sampler.tpe
    """tpe, random, grid (every combination, so no intervals), or cmaes (for numbers; all other values are drawn at
    random)."""
    n_trials: Annotated[int, Gt(0)] = 20
    """Trials of the study, including those of earlier calls and of other machines. A grid, and a search with no more
    combinations than this, has one trial for each combination instead."""
    n_jobs: Annotated[int | None, Gt(0)] = None
    """Concurrent trials, if the launcher can run several. null: as many as joblib runs; with other launchers, one."""
    n_startup_trials: Annotated[int, Ge(0)] = 5
    """Completed trials before the sampler and the pruner use their results."""
    pruner: Pruner = Pruner.none
    """none, median (worse than half of the others at the same validation), or asha (successive halving)."""
    reduction_factor: Annotated[int, Ge(2)] = 3
    """`asha` lets one in N trials continue at the validations 1, N, N*N and so on."""
    direction: Direction | None = None
    """minimize or maximize. null: the direction of the objective, if it is known before the objective is measured."""
    storage: Annotated[str | None, Len(1)] = None
    """Where the study is kept, for several machines to share: a URL such as sqlite:///study.db, or a journal file on a
    disk that all of them have. null: `study.journal` in the folder of the sweep."""
    study_name: Annotated[str | None, Len(1)] = None
    """The name of the study in its storage. null: the `name` of the run."""
    seed: Annotated[int | None, Interval(ge=0, lt=2**31)] = None
    """Seed of the sampler. null: different trials each time."""
    params: dict[str, Any] = field(default_factory=dict)
    """The search space, for use in an experiment file: trainer.learning_rate: tag(log,interval(1e-5,1e-3))."""
