"""Which machine of a group this is, and where the others find the first: as the config says, or Slurm."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from framework.api.errors import FrameworkError
from framework_plugins.launch import slurm
from framework_plugins.launch.config import SLURM, GroupConfig


def rank(config: GroupConfig) -> int:
    """Return the number of this machine; 0 where Slurm is to tell and has not started this."""
    return (slurm.node() if config.main_address == SLURM else config.rank) or 0


def host(config: GroupConfig) -> str:
    """Return the name or address of the first machine, where the others find it."""
    found = slurm.first_host() if config.main_address == SLURM else config.main_address
    return found or "localhost"


def check(config: GroupConfig) -> None:
    """Look whether Slurm started this as it has to, where it is to say which machine this is.

    That is asked when the run is there: the machine that submits it may be in another job.

    Raises:
        FrameworkError: it did not.
    """
    if found := list(_problems(config)) if config.main_address == SLURM else []:
        raise FrameworkError("\n".join(found))


def check_port(config: GroupConfig) -> None:
    """Look on the first of several machines whether the others can find it, before the base is evaluated.

    Raises:
        FrameworkError: the port is taken.
    """
    if config.machines == 1:
        return
    try:
        with socket.create_server(("", config.main_port)):
            return
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        message = (
            f"launch.main_port={config.main_port}: {reason} on this machine. Set one that is free here, the same on "
            "all machines"
        )
        raise FrameworkError(message) from error


def _problems(config: GroupConfig) -> Iterator[str]:
    if slurm.node() is None or slurm.first_host() is None:
        yield (
            f"launch.main_address={SLURM}: Slurm did not start this. Start it by srun, or by "
            "-m hydra/launcher=submitit_slurm"
        )
        return
    nodes, tasks = slurm.nodes(), slurm.tasks()
    if nodes not in {None, config.machines}:
        yield (
            f"launch.machines={config.machines}, and Slurm gives this job {nodes}: set launch.machines={nodes}, or ask "
            f"Slurm for --nodes={config.machines} (hydra.launcher.nodes={config.machines})"
        )
    if tasks is not None and tasks > 1:
        yield (
            f"Slurm starts this {tasks} times on a machine, and each would start launch.processes of its own: ask for "
            "--ntasks-per-node=1 (hydra.launcher.tasks_per_node=1)"
        )
