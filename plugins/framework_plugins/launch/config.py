"""Options of `launch=`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Gt

from framework.api import gpu_count
from framework.api.program import LaunchConfig
from framework.api.training import Engine, ProcessGroup

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
    """In a group of processes on this machine, started by torchrun's agent, one for each GPU."""

    engine: ClassVar[Engine]

    processes: Annotated[int | None, Gt(0)] = None
    """How many processes the group has. null: one for each visible GPU."""

    def group(self) -> ProcessGroup:
        """Return the group that is asked for."""
        return ProcessGroup(self.engine, self.processes or gpu_count() or 1)


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
