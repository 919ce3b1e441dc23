"""From overrides, or from a run folder, to a config or a plan. Whatever is wrong is a FrameworkError with its place.

The plan of a run folder is made of what the run saved, not of its overrides: presets and experiments may have changed
since then. What was chosen to measure, export and log is left out, so none of it has to be here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.api.component import GROUPS
from framework.api.plan import Plan
from framework.api.protocols import Backend, Model, ModelSource
from framework.api.run_folder import ENVIRONMENT, PLAN, RunFolder, SavedRun, check_weights
from framework.api.schema import Stage
from framework.api.text.overrides import override_key, quoted
from framework.config.check import check
from framework.config.compose import CONFIG_NAME, compose, config_loader
from framework.config.hydra_settings import hydra_problems
from framework.config.sources import REFUSALS, explain, refusal
from framework.config.unused import unused
from framework.hooks.local_file import load_file
from framework.hooks.session import current
from framework.plan.diagnose import diagnose, overrides_of
from framework.plan.make import make_plan
from framework.rundir.environment import Environment
from framework.rundir.folder import check_kinds
from framework.rundir.store import fetch
from framework.util.errors import FrameworkError, display_run, is_url
from framework.util.redact import HIDDEN

PATH = re.compile(r"([\w.]+[._])?(path|dir|sets|mix)|checkpoint|adapter\.start|plugins")
"""Keys of settings that are paths, or have paths in them."""
ONE_OPTION = [name for name, group in GROUPS.items() if not group.several]
"""The groups that say what a model is and how it is asked."""


def composed(overrides: Sequence[str]) -> DictConfig:
    """Compose a config without checking it.

    Raises:
        FrameworkError: what Hydra refuses, with its place.
    """
    try:
        return compose(overrides)
    except REFUSALS as error:
        raise diagnose(error, overrides) from error


def load_config(overrides: Sequence[str]) -> DictConfig:
    """Compose and check a config.

    Raises:
        FrameworkError: what Hydra refuses, or everything that is wrong with what composed, each with its place.
    """
    session = current()
    session.unused = unused(session, overrides)
    config = composed(overrides)
    check(config, overrides)
    return config


def load_plan(overrides: Sequence[str], *, run_dir: Path | None = None) -> Plan:
    """Compose a config, check it and freeze it.

    Args:
        overrides: the arguments of the command line that make the config.
        run_dir: the folder of a trial of a sweep, which the config may not name.

    Raises:
        FrameworkError: what Hydra refuses, or everything that is wrong with what composed, each with its place.
    """
    return make_plan(composed(overrides), run_dir=run_dir, overrides=tuple(overrides))


def load_hydra(words: Sequence[str], mode: RunMode) -> DictConfig:
    """Compose a config as Hydra will before it makes callbacks, launcher and sweeper, and check its `hydra` node.

    Args:
        words: of a command line.
        mode: what they ask for; the values of a sweep are left out.

    Raises:
        FrameworkError: what Hydra refuses, or settings of Hydra that a config may not hold, each with its place.
    """
    overrides = overrides_of(words)
    with config_loader() as loader:
        try:
            config: DictConfig = loader.load_configuration(CONFIG_NAME, overrides, mode)
        except REFUSALS as error:
            raise diagnose(error, words) from error
        if errors := list(hydra_problems(config, loader, mode)):
            raise refusal(errors, overrides)
    return config


def saved_plan(run: SavedRun, overrides: Sequence[str] = ()) -> Plan:
    """Make the plan of a run again. It changes into the folder where the run was started: paths are relative to it.

    Args:
        run: the folder of a run.
        overrides: settings that are to be others than in the run.

    Raises:
        FrameworkError: a plugin is gone, an override is wrong, or the folder is not what a run writes.
    """
    check_kinds(run.folder)
    environment = run.record(Environment, ENVIRONMENT)
    overrides = typed_in(Path.cwd(), overrides)
    if environment and Path(environment.folder).is_dir():
        os.chdir(environment.folder)
    for path in run.config.get("plugins", ()):
        load_file(current().plugins, path)
    overridden = {override_key(word) for word in overrides}
    words = [word for word in _words(run, environment) if override_key(word) not in overridden]
    config = composed([*words, *overrides])
    try:
        _restore(config, run, overridden)
    except OmegaConfBaseException as error:
        raise FrameworkError(f"{run.folder} holds settings that are no longer valid: {explain(error)}") from error
    return make_plan(config, run_dir=run.folder, overrides=tuple(overrides), saved=True)


@contextmanager
def restored(run: SavedRun, overrides: Sequence[str] = ()) -> Iterator[tuple[Plan, Model]]:
    """Open the model of a run with its trained weights, and free it at the end. It changes folders, too.

    Errors that do not need the weights are reported before the backend's libraries are imported.

    Raises:
        FrameworkError: the run has no trained weights, or its model is not available.
    """
    if is_url(url := display_run(run.folder)):
        fetch(url, lambda name: name.startswith(f"{RunFolder.CHECKPOINT}/"))
    plan = saved_plan(run, overrides)
    if not plan.training.answers():
        raise FrameworkError(
            f"{run.folder} trained a model that gives scores and answers no prompts: score answers with it, "
            f"reward=[reward_model] reward.reward_model.path={run.folder}"
        )
    if not plan.checkpoint.is_dir():
        folder, name = plan.checkpoint.parent, plan.checkpoint.name
        raise FrameworkError(f"{folder} holds no folder '{name}' with trained weights: run the train stage first")
    check_weights(plan.checkpoint)
    source: ModelSource = plan.model.create()
    source.check()
    backend: Backend = plan.trainer.create()
    with backend.open(plan) as model:
        model.restore(plan.checkpoint)
        yield plan, model


def typed_in(folder: Path, words: Sequence[str]) -> list[str]:
    """Return overrides that mean the same in any folder: relative paths become absolute.

    `run_dir` always does; another path does if there is such a file or folder, since an id on the Hub looks like one.
    """
    return [_absolute(word, folder) if PATH.fullmatch(override_key(word)) else word for word in words]


def _absolute(word: str, folder: Path) -> str:
    try:
        value = OverridesParser.create().parse_override(word).value()
    except HydraException:  # whoever composes reports it
        return word
    absolute = _below(value, folder, always=override_key(word) == "run_dir")
    return word if absolute == value else f"{word.partition('=')[0]}={quoted(absolute)}"


def _below(value: Any, folder: Path, *, always: bool) -> Any:
    if isinstance(value, list):
        return [_below(item, folder, always=always) for item in value]
    if isinstance(value, dict):
        return {name: _below(item, folder, always=always) for name, item in value.items()}
    if not isinstance(value, str) or not value or is_url(value):
        return value
    path = folder / Path(value).expanduser()
    root = Path(str(path).partition("*")[0])  # of a glob, the folder
    return str(path) if always or root.exists() else value


def _words(run: SavedRun, environment: Environment | None) -> list[str]:
    """Return words that choose the run's options: a run tells them in its environment.json, else by its own words."""
    if environment is None:
        return [word for word in run.overrides if override_key(word) != "run_dir"]
    options = {**environment.options, **run.options}
    return [f"{group}={option}" for group, option in options.items() if group in ONE_OPTION]


def _restore(config: DictConfig, run: SavedRun, overridden: set[str]) -> None:
    """Put the run's settings into a config, except those that are given again and secrets, which were not saved."""
    for name, group in GROUPS.items():
        if group.several:
            config[name] = {}
    config.objective, config.stages = "eval_loss", [Stage.evaluate]
    for name in {"seed", "checkpoint"} - overridden:
        config[name] = run.config.get(name, config[name])
    for name in ONE_OPTION:
        settings = run.config.get(name)
        if not isinstance(settings, Mapping):
            raise FrameworkError(f"{run.folder / PLAN} has no settings of {name}: restore the file")
        saved = dict(_saved_settings(name, settings, config[name], overridden))
        config[name] = OmegaConf.merge(config[name], saved)


def _saved_settings(
    group: str, saved: Mapping[str, Any], now: DictConfig, overridden: set[str]
) -> Iterator[tuple[str, Any]]:
    names = list(now)  # `in` of a config passes over what has no value yet
    for name, value in saved.items():
        anew = {group, f"{group}.{name}"} & overridden
        if name in names and not anew and HIDDEN not in str(value):
            yield name, value
