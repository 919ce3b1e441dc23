"""The study of a sweep: its direction, its sampler and its pruner."""

from __future__ import annotations

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import check_distribution_compatibility
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler

from framework import FrameworkError
from framework.api import Measure, MeasureKind, Verdict, plugins, scoring
from framework_plugins.sweeps.config import Direction, Optuna5Config, Pruner, Sampler
from framework_plugins.sweeps.requirements import needs_cmaes
from framework_plugins.sweeps.space import Space, as_sweep
from framework_plugins.sweeps.storage import open_storage

STUDY_NAME_SETTING = "hydra.sweeper.study_name=NAME"


def direction(settings: Optuna5Config, config: DictConfig) -> Direction:
    """Return which way the objective of a run is better.

    Raises:
        FrameworkError: it is a measure of an evaluator, which tells that only when it has measured; or the data decide
            among metrics of both directions.
    """
    if settings.direction is not None:
        return settings.direction
    name = config.objective
    if name == Verdict.PRIMARY:
        deciding = [config.verdict.primary] if config.verdict.primary else _deciding(config)
        ways = {
            direction(settings, OmegaConf.merge(config, {"objective": metric_name.removesuffix(Measure.WINS)}))
            for metric_name in deciding
        }
        if len(ways) > 1:
            raise FrameworkError(
                f"objective={Verdict.PRIMARY}: the data decide which of {', '.join(deciding)} it is, and not all "
                f"of them are better if higher: set objective={'|'.join(deciding)}"
            )
        return next(iter(ways))
    if (
        name == Verdict.SCORE or name in Measure.LOSSES or name.startswith(f"{Measure.EVAL_LOSS}_")
    ):  # the last is of a validation set
        return Direction.maximize if name == Verdict.SCORE else Direction.minimize
    if name not in config.metric:
        raise FrameworkError(
            f"objective={name}: its direction is known only after a measurement: set "
            "hydra.sweeper.direction=maximize|minimize"
        )
    metric = plugins().selection_of(config.metric[name]).create()
    return Direction.maximize if metric.higher_is_better else Direction.minimize


def _deciding(config: DictConfig) -> list[str]:
    """Return the metrics of which one will decide the verdict; the validation loss if none can."""
    metrics = {name: plugins().selection_of(config.metric[name]).create() for name in config.metric if config.evaluator}
    return [name for name, metric in metrics.items() if scoring.kind_of(metric) is MeasureKind.content] or [
        Measure.EVAL_LOSS
    ]


def open_study(settings: Optuna5Config, name: str, storage: str, better: Direction) -> optuna.Study:
    """Open the study, or begin it.

    Raises:
        FrameworkError: a study of this name looks the other way.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=open_storage(storage), study_name=name, direction=better.value, load_if_exists=True
    )
    if study.direction.name.lower() != better.value:
        raise FrameworkError(
            f"the study '{name}' exists and does not {better.value}: give this one another name, {STUDY_NAME_SETTING}"
        )
    study.sampler = _sampler(settings, len(study.get_trials(deepcopy=False)))
    study.pruner = make_pruner(settings.pruner, settings.n_startup_trials, settings.reduction_factor)
    return study


def check_space(study: optuna.Study, space: Space) -> None:
    """Check whether the trials of a study are from this space.

    Raises:
        FrameworkError: it has trials with other choices of a list, or numbers of another kind.
    """
    problems: dict[str, str] = {}
    for trial in study.get_trials(deepcopy=False):
        for key, earlier in trial.distributions.items():
            current = space.distributions.get(key, earlier)
            try:
                check_distribution_compatibility(earlier, current)
            except ValueError:
                name = f"the study '{study.study_name}' has trials of {key}={as_sweep(earlier)}, which cannot change"
                problems[key] = (
                    f"{key}={as_sweep(current)}: {name}: sweep over that, or give this one another name, "
                    f"{STUDY_NAME_SETTING}"
                )
    if problems:
        raise FrameworkError("\n".join(problems.values()))


def _sampler(settings: Optuna5Config, points: int) -> BaseSampler:
    """Return the sampler; a resumed study does not draw its first trials again."""
    # With the same seed the sampler would draw the trials again that the study has.
    seed = None if settings.seed is None else settings.seed + points
    startup = settings.n_startup_trials
    if settings.sampler is Sampler.tpe:
        return TPESampler(n_startup_trials=startup, seed=seed)
    if settings.sampler is Sampler.cmaes:
        needs_cmaes()
        return CmaEsSampler(n_startup_trials=startup, seed=seed, warn_independent_sampling=False)
    return RandomSampler(seed=seed)  # the trials of a grid are put into the queue


def make_pruner(kind: Pruner, startup: int, factor: int) -> BasePruner:
    """Return the pruner; its steps are validations."""
    if kind is Pruner.median:
        return MedianPruner(n_startup_trials=startup)
    if kind is Pruner.asha:
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=factor)
    return NopPruner()
