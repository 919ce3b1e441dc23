"""Options of `launch=`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt

from framework.api import Affects, gpu_count
from framework.api.program import LaunchConfig
from framework.api.training import WORKER, Engine, ProcessGroup, outer_member

FAILED_FILE = "failed.json"
"""Where the agent of a group notes the exit codes of processes that died."""


@dataclass
class SingleConfig(LaunchConfig):
    """In the process that was started; a run that cannot share it continues in a new one."""


@dataclass
class SubprocessConfig(LaunchConfig):
    """In a process of its own: all memory is freed at the end, and a killed run does not end a sweep."""


@dataclass
class GroupConfig(LaunchConfig):
    """In a group of processes, one for each GPU, started by torchrun's agent or by an outer torchrun."""

    engine: ClassVar[Engine]

    processes: Annotated[int | None, Gt(0)] = None
    """How many processes each machine has. null: one for each visible GPU, or those that an outer torchrun starts."""
    nodes: Annotated[int | None, Gt(0)] = None
    """How many machines train together. null: this one, or those on which an outer torchrun starts processes."""
    rendezvous: Annotated[str | None, Affects.nothing] = None
    """HOST:PORT where the machines of `nodes` meet: one of them, and a free port there. The same on each machine."""
    wait_seconds: Annotated[float, Gt(0), Affects.nothing] = 600.0
    """How long machines and processes wait for the others to join, and for the rows of the others."""
    restarts: Annotated[int, Ge(0), Affects.nothing] = 0
    """How often the processes of `nodes` start again after a failure. They continue from the newest checkpoint."""

    def group(self) -> ProcessGroup:
        """Return the group that is asked for, or the one that torchrun has started."""
        if outer := outer_member():
            return ProcessGroup(self.engine, outer.world)
        return ProcessGroup(self.engine, self.on_each_node * (self.nodes or 1))

    @property
    def on_each_node(self) -> int:
        """How many processes a machine starts."""
        return self.processes or gpu_count() or 1

    @property
    def starts_nodes(self) -> bool:
        """Whether this process only starts those of its machine, and joins them with those of other machines."""
        return (self.nodes or 1) > 1 and outer_member() is None and WORKER not in os.environ

    def writes(self) -> bool:
        """Whether this process runs the stages: the first of its group."""
        outer = outer_member()
        return not self.starts_nodes and (outer is None or outer.rank == 0)


@dataclass
class DdpConfig(GroupConfig):
    """PyTorch's DDP: each process has the whole model and takes a part of each step's rows."""

    engine = Engine.ddp


@dataclass
class Fsdp2Config(GroupConfig):
    """PyTorch's FSDP2: weights, gradients and optimizer states are sharded over the processes."""

    engine = Engine.fsdp2

    cpu_offload: bool = False
    """Keep weights and optimizer states in CPU memory while they are not in use: slow, but there is more of it."""

    def group(self) -> ProcessGroup:
        """Return the group that is asked for."""
        return replace(super().group(), cpu_offload=self.cpu_offload)
