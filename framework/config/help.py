"""`--help`: the text that `hydra.help` in `conf/config.yaml` lays out, with the groups, their options and the config.

Hydra's own help copies all configs that it knows several times for each group, half a second in all. Here they are read
once; the text is the same to the letter.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from omegaconf import OmegaConf, flag_override

from framework.config.compose import CONFIG_NAME, config_loader


def help_text(overrides: Sequence[str], *, resolve: bool = False) -> str:
    """Return the help with the config that the overrides make; `resolve` replaces its interpolations."""
    with config_loader() as loader:
        config = compose(CONFIG_NAME, overrides=list(overrides), return_hydra_config=True)
        groups = "".join(f"{name}: {', '.join(options)}\n" for name, options in _groups(loader.repository, ""))
    HydraConfig.instance().set_config(config)
    template = string.Template(config.hydra.help.template)
    with flag_override(config, ["struct", "readonly"], [False, False]):
        del config["hydra"]
    return template.safe_substitute(APP_CONFIG_GROUPS=groups, CONFIG=OmegaConf.to_yaml(config, resolve=resolve))


def _groups(repository: Any, parent: str) -> Iterator[tuple[str, list[str]]]:
    """Give the groups below `parent` with their options, those of Hydra itself left out."""
    for name in repository.get_group_options(parent, ObjectType.GROUP):
        group = f"{parent}/{name}".lstrip("/")
        if group != "hydra":
            if options := repository.get_group_options(group, ObjectType.CONFIG):
                yield group, options
            yield from _groups(repository, group)
