"""From overrides to a config or a plan. Whatever is wrong is a FrameworkError that names the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from framework.api.plan import Plan
from framework.config.check import check
from framework.config.compose import compose
from framework.config.sources import REFUSALS
from framework.plan.diagnose import diagnose
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
