"""Checks trials of a sweep before Hydra makes its folder, so that a mistake in the last one is reported at once."""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeperConf
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from hydra.types import RunMode
from omegaconf import DictConfig

from framework.api.records import Verdict
from framework.api.schema import Stage
from framework.api.text.overrides import override_key
from framework.config.check import code_problems, problems_below
from framework.config.compose import config_loader, user_folders
from framework.config.limits import MAX_TRIALS, check_words, swept_values
from framework.config.sources import REFUSALS, ConfigError, explain, refusal
from framework.hooks.session import current
from framework.plan.load import composed, load_hydra, load_plan
from framework.util.errors import FrameworkError, is_url

COMBINATIONS = 32
"""How many combinations of a sweep's values are checked, besides the trials that hold each value once."""


def check_sweep(words: Sequence[str]) -> None:
    """Check the settings of the sweeper and, up to the first that is refused, trials of the sweep.

    Raises:
        FrameworkError: everything that is wrong with the sweeper, or with one trial.
    """
    words = [word for word in words if not word.startswith("-")]
    sweep_dir = next((word.partition("=")[2] for word in words if override_key(word) == "hydra.sweep.dir"), "")
    if is_url(sweep_dir.strip("'\"")):
        raise FrameworkError(f"hydra.sweep.dir={sweep_dir}: only a run can be on a store. Give a folder for a sweep")
    hydra = load_hydra(words, RunMode.MULTIRUN).hydra
    if str(hydra.launcher.get("_target_")).endswith(".SlurmLauncher") and shutil.which("srun") is None:
        raise FrameworkError(
            "hydra/launcher=submitit_slurm needs Slurm, whose command srun is not on this machine: start the sweep on "
            "a login node of the cluster, or choose hydra/launcher=submitit_local"
        )
    sweeper = _sweeper(hydra.sweeper, words)
    params = [f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()]
    check_words(params, "hydra.sweeper.params")
    if hydras := next((word for word in params if "hydra" in word.partition("=")[0]), ""):
        raise FrameworkError(f"hydra.sweeper.params: {hydras} applies to the whole sweep: set it outside params")
    # What a file lists there is an override of each trial; it may not name code there either.
    of_file = [] if any(override_key(word).startswith("hydra.sweeper.params") for word in words) else params
    words += params
    with config_loader() as loader:
        try:
            _check_size(loader, words, listed="sampler" not in sweeper or sweeper.sampler.name == "grid")
            chosen, typed = trials(loader, words)
            files = bool(user_folders(current())) and _sweeps_over_files(loader, words)
        except REFUSALS as error:  # of `params` in a file
            raise FrameworkError(explain(error)) from error
    if typed and sweeper.get("_target_") == BasicSweeperConf._target_:
        word = next(iter(typed.values()))
        raise FrameworkError(
            f"{word}: an interval has infinitely many values: list some, or choose hydra/sweeper=optuna5"
        )
    for trial in chosen:
        if files:
            load_hydra([word for word in trial if not word.startswith("hydra.mode=")], RunMode.RUN)
        listed = {override_key(word) for word in of_file}
        typed_words = [word for word in trial if override_key(word) not in listed]
        if listed and (code := list(code_problems(composed(trial), typed_words))):
            raise refusal(code, trial)
        try:
            plan = load_plan(trial, run_dir=Path.cwd())
            check_objective(plan.settings.objective, plan.stages, evaluates=bool(plan.evaluator))
        except ConfigError as error:
            raise error.with_places(typed) from error


def check_objective(name: str, chosen: Sequence[Stage], *, evaluates: bool) -> None:
    """Refuse a sweep whose trials end without the objective by which they are compared; a plan alone is not a trial.

    Args:
        name: of the objective.
        chosen: the stages of a trial.
        evaluates: whether a trial has an evaluator.

    Raises:
        FrameworkError: a stage is missing that measures the objective or reports it, or nothing measures it.
    """
    if not {Stage.train, Stage.evaluate} & set(chosen):
        return
    measuring = Stage.train if name == "train_loss" else Stage.evaluate
    missing_stages = [stage for stage in (measuring, Stage.report) if stage not in chosen]
    if name == Verdict.SCORE and Stage.baseline not in chosen:
        missing_stages.insert(0, Stage.baseline)
    if missing_stages:
        names, noun = (
            " and ".join(stage.value for stage in missing_stages),
            "stage" if len(missing_stages) == 1 else "stages",
        )
        stages = ",".join(
            stage.value for stage in Stage if stage in {*chosen, *missing_stages} and stage is not Stage.plan
        )
        raise FrameworkError(
            f"objective={name} is not known at the end of a trial without the {noun} {names}: set stages=[{stages}]"
        )
    if name == Verdict.SCORE and not evaluates:
        raise FrameworkError(
            f"objective={name} comes from what evaluators measure, but none is chosen: set evaluator=[prompts] or "
            "objective=eval_loss"
        )


def _sweeper(sweeper: DictConfig, words: Sequence[str]) -> DictConfig:
    """Return `hydra.sweeper`, checked."""
    if errors := list(problems_below(sweeper, "hydra.sweeper.")):
        raise refusal(errors, words)
    return sweeper


def _sweeps_over_files(loader: ConfigLoader, words: Sequence[str]) -> bool:
    """Whether trials read different files."""
    parsed = OverridesParser.create(loader).parse_overrides(list(words))
    return any(
        override.is_sweep_override() and loader.repository.group_exists(override.key_or_group) for override in parsed
    )


def _check_size(loader: ConfigLoader, words: Sequence[str], *, listed: bool) -> None:
    """Refuse a sweep whose values, or whose trials if all are `listed`, are too many to list.

    Raises:
        FrameworkError: names the override or the sweep, and the limit.
    """
    overrides = OverridesParser.create(loader).parse_overrides(list(words))
    for override in overrides:
        if (size := swept_values(override)) > MAX_TRIALS:
            raise FrameworkError(
                f"{override.input_line}: {size:,.0f} values, more than the {MAX_TRIALS:,} that a sweep may try: use a "
                "larger step, or an interval with hydra/sweeper=optuna5"
            )
    total = math.prod(
        len([*override.sweep_string_iterator()]) for override in overrides if override.is_discrete_sweep()
    )
    if listed and total > MAX_TRIALS:
        raise FrameworkError(
            f"the sweep has {total:,} trials, more than {MAX_TRIALS:,}: sweep over fewer values, or choose "
            "hydra/sweeper=optuna5, which tries hydra.sweeper.n_trials of them"
        )


def trials(loader: ConfigLoader, words: Sequence[str]) -> tuple[list[list[str]], dict[str, str]]:
    """Return the overrides of the trials to check, and for each end of an interval the override as it was typed.

    Every value occurs once, and so do the first combinations in Hydra's order. An interval is checked at its two ends,
    and combined with other values at the first: all far ends at once are a corner that hardly any trial comes near.
    """
    typed: dict[str, str] = {}
    choices, combined = [], []
    for override in OverridesParser.create(loader).parse_overrides(list(words)):
        key, word = override.get_key_element(), str(override.input_line)
        values = [word]
        if override.is_discrete_sweep():
            values = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif isinstance(sweep := override.value(), IntervalSweep):
            values = [f"{key}={end!r}" for end in (sweep.start, sweep.end)]
            typed |= dict.fromkeys(values, word)
        if not values:
            raise FrameworkError(f"{word}: no value is left to sweep over")
        choices.append(values)
        combined.append(values[:1] if word in typed.values() else values)
    longest = max(map(len, choices), default=1)
    each_value = (tuple(values[index % len(values)] for values in choices) for index in range(longest))
    combinations = itertools.islice(itertools.product(*combined), COMBINATIONS)
    return [list(trial) for trial in dict.fromkeys(itertools.chain(each_value, combinations))], typed
