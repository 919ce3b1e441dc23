"""On which machine a run happens, `launch.on`: here, or by Slurm or Ray. How it runs is the option of `launch=`."""

from __future__ import annotations

from framework import Plan, Stage
from framework.api import Report
from framework.api.program import Launcher
from framework_plugins.launch.child_process import ChildProcess
from framework_plugins.launch.config import GroupConfig, PlacedConfig, SubprocessConfig, Where
from framework_plugins.launch.single import Single


def launcher(config: PlacedConfig) -> Launcher:
    """Return what runs a plan where its settings say."""
    return here(config) if config.on is Where.local else Elsewhere(config)


def here(config: PlacedConfig) -> Launcher:
    """Return what runs a plan on this machine."""
    if isinstance(config, GroupConfig):
        from framework_plugins.launch.launcher import GroupLauncher  # noqa: PLC0415 - numpy, which others do without

        return GroupLauncher(config)
    return ChildProcess(config) if isinstance(config, SubprocessConfig) else Single(config)


class Elsewhere:
    """Hands a run to Slurm or to Ray. A plan alone is made here: it takes a second and no GPU."""

    def __init__(self, config: PlacedConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Submit the run to Slurm and print its job, or have Ray run it."""
        if plan.stages == (Stage.plan,):
            return here(self.config).launch(plan)
        if self.config.on is Where.ray:
            from framework_plugins.launch.on_ray import OnRay  # noqa: PLC0415 - as below

            return OnRay(self.config).launch(plan)
        from framework_plugins.launch.slurm import submit  # noqa: PLC0415 - submitit, which only this needs

        for line in submit(plan, self.config):
            print(line)  # noqa: T201 - what the command was for
        return None
