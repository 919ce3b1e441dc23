"""`hydra/sweeper=optuna5`, as Hydra calls it. Every program with Hydra imports this, so optuna waits for a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from framework_plugins.sweeps.config import Optuna5Config

ConfigStore.instance().store(group="hydra/sweeper", name="optuna5", node=Optuna5Config, provider="framework")


class Optuna5Sweeper(Sweeper):
    """Asks optuna which trial comes next."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.config: DictConfig | None = None
        self.hydra_context: HydraContext | None = None
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what a sweep needs, and make the launcher."""
        self.config = config
        self.hydra_context = hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Sequence[Any]:
        """Run trials until there are enough; see `framework_plugins.sweeps.sweeping`."""
        from framework_plugins.sweeps.requirements import needs_optuna  # noqa: PLC0415 - needed when a sweep runs

        needs_optuna()
        from framework_plugins.sweeps.sweeping import OptunaSweep  # noqa: PLC0415 - it loads optuna

        assert self.config is not None  # noqa: S101 - Hydra calls setup first
        assert self.hydra_context is not None  # noqa: S101 - as above
        settings = Optuna5Config(**{name: value for name, value in self.settings.items() if name != "_target_"})
        OptunaSweep(settings, self.config, self.hydra_context.config_loader, self.launcher).run(arguments)
        return []
