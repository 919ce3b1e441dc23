"""From plugins and YAML to one config: fills Hydra's ConfigStore and extends its search path."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from framework.component import GROUPS
from framework.plugins import ask, leave_out, registrations
from framework.schema import RunConfig

CONFIG_NAME = "config"


def conf_dir() -> Path:
    """Return the `conf/` folder: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


class PluginConfigPaths(SearchPathPlugin):
    """Adds the config folders of plugins to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append what `framework_config_paths` gives."""
        for _, path in ask("framework_config_paths"):
            search_path.append(provider="framework", path=path)


@functools.cache
def register() -> None:
    """Make every component an option that Hydra can compose. Once per process."""
    store = ConfigStore.instance()
    store.store(name="run_config", node=RunConfig, provider="framework")
    for group in GROUPS.values():
        for name, registration in registrations(group).items():
            package = f"{group.name}.{name}" if group.several else None
            node = registration.component.schema
            try:
                store.store(group=group.name, name=name, node=node, package=package, provider="framework")
            except OmegaConfBaseException as error:  # a type that no config can have
                leave_out(registration.plugin, f"{group.name} '{name}'", error)
    Plugins.instance().register(PluginConfigPaths)


def compose(overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a config as the command line does, without running anything; for tests and tools."""
    register()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra_compose(CONFIG_NAME, overrides=list(overrides))
