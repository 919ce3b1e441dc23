"""From overrides to a config or a plan. Whatever is wrong is a FrameworkError that names the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.types import RunMode
from omegaconf import DictConfig

from framework.api.plan import Plan
from framework.config.check import check
from framework.config.compose import CONFIG_NAME, compose, config_loader
from framework.config.hydra_settings import hydra_problems
from framework.config.sources import REFUSALS, refusal
from framework.config.unused import unused
from framework.hooks.session import current
from framework.plan.diagnose import diagnose, overrides_of
from framework.plan.make import make_plan


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
