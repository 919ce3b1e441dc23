"""The one way from overrides to a config: composed and checked, or everything that is wrong with it in one error."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.config.check import loose_words, problems, sets_unknown_key
from framework.config.compose import compose
from framework.config.sources import refusal
from framework.plan.diagnose import diagnose, mistakes
from framework.util.errors import FrameworkError


def load_config(overrides: Sequence[str]) -> DictConfig:
    """Compose and check a config.

    Raises:
        FrameworkError: lists everything that is wrong, each with the place that set it.
    """
    if sets_unknown_key(overrides) and (lines := mistakes(overrides)):
        raise FrameworkError("\n".join(lines))
    config = compose_config(overrides)
    if found := [*problems(config), *loose_words(config, overrides)]:
        raise refusal(found, overrides)
    return config


def compose_config(overrides: Sequence[str]) -> DictConfig:
    """Compose a config.

    Raises:
        FrameworkError: Hydra refuses; lists everything that is wrong.
    """
    try:
        return compose(overrides)
    except (CompactHydraException, OmegaConfBaseException) as error:
        raise diagnose(error, overrides) from error
