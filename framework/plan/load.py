"""From overrides to a config or a plan: checked, or everything that is wrong in one error, each with its place."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.api.plan import Plan
from framework.config.check import loose_words, problems, sets_unknown_key
from framework.config.compose import compose
from framework.config.sources import refusal
from framework.plan.diagnose import diagnose, mistakes
from framework.plan.make import make_plan
from framework.util.errors import FrameworkError


def load_config(overrides: Sequence[str]) -> DictConfig:
    """Compose and check a config.

    Raises:
        FrameworkError: lists everything that is wrong, each with the place that set it.
    """
    if sets_unknown_key(overrides) and (lines := mistakes(overrides)):
        raise FrameworkError("\n".join(lines))
    try:
        config = compose(overrides)
    except (CompactHydraException, OmegaConfBaseException) as error:
        raise diagnose(error, overrides) from error
    if found := [*problems(config), *loose_words(config, overrides)]:
        raise refusal(found, overrides)
    return config


def load_plan(overrides: Sequence[str]) -> Plan:
    """Compose a config, check it and freeze it.

    Raises:
        FrameworkError: lists everything that is wrong, each with the place that set it.
    """
    try:
        return make_plan(compose(overrides), overrides=tuple(overrides))
    except (CompactHydraException, OmegaConfBaseException) as error:
        raise diagnose(error, overrides) from error
