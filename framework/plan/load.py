"""The one way from overrides to a config: composed and checked, or everything that is wrong with it in one error."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.api.component import GROUPS
from framework.api.fields import fields
from framework.api.text.overrides import override_key
from framework.config.check import loose_words, problems
from framework.config.compose import compose
from framework.config.sources import refusal
from framework.hooks.manager import components
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


def sets_unknown_key(words: Sequence[str]) -> bool:
    """Whether a word sets what no option of its group has, or takes away what has to be there.

    Hydra would compose everything to find that out.
    """
    for word in words:
        group, _, below = override_key(word).partition(".")
        if word.startswith("~") and not (below and group in GROUPS and GROUPS[group].several):
            return True
        if below and group in GROUPS and not GROUPS[group].several:
            names = {field.name for option in components(group).values() for field in fields(option.schema)}
            if below.partition(".")[0] not in names:
                return True
    return False
