"""Configs for tests: what the chosen options make is composed once in a process."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from framework.api.component import GROUPS
from framework.config import compose as uncached
from framework.hooks.session import current
from framework.hooks.validation import COMPONENTS
from framework.util.template import Template


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a config as the command line does, without running anything; for tests and tools."""
    # A composition takes most of the time of many a test. The values are set in a copy, as Hydra sets them at its end.
    session = current()
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [
        override
        for override in parsed
        if override.type is OverrideType.CHANGE
        and not ({"/", "@"} & {*override.key_or_group})
        and override.key_or_group not in GROUPS
    ]
    if uncached.user_folders(session) or any(override.is_sweep_override() for override in values):
        return uncached.compose(overrides)  # the files of a folder may be others the next time
    choices = tuple(str(override.input_line) for override in parsed if override not in values)
    config = _composed(choices, session.plugins.implementations(COMPONENTS), session.unused).copy()
    try:
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value())
    except OmegaConfBaseException:  # which Hydra reports with the place
        return uncached.compose(overrides)
    return config


@functools.lru_cache(maxsize=256)
def _composed(choices: tuple[str, ...], *_: Hashable) -> Template[DictConfig]:
    return Template(uncached.compose(choices))
