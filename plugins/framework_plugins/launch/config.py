"""Options of `launch=`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Interval, Len

from framework.api.process_group import Engine, ProcessGroup
from framework.api.schema import LaunchConfig

SLURM = "slurm"
FAILED = "failed.json"
"""Where the agent of a group notes the exit codes of processes that died."""


@dataclass
class SingleConfig(LaunchConfig):
    """In the process that was started; a run that cannot share it continues in a new one."""


@dataclass
class SubprocessConfig(LaunchConfig):
    """In a process of its own: all memory comes back at the end, and a killed run does not end a sweep."""


@dataclass
class GroupConfig(LaunchConfig):
    """In a group of processes, started by accelerate launch, one for each GPU."""

    engine: ClassVar[Engine]

    processes: Annotated[int | None, Gt(0)] = None
    """Processes on each machine. null: one for each GPU that is visible."""
    machines: Annotated[int, Gt(0)] = 1
    """Machines that take part; the same command is started on each of them."""
    rank: Annotated[int | None, Ge(0)] = None
    """The number of this machine, from 0; the first one evaluates, exports and writes."""
    main_address: Annotated[str | None, Len(1)] = None
    """Name or address under which the others reach the first machine. slurm: rank and address are what Slurm says on
    each machine, once the run is there."""
    main_port: Annotated[int, Interval(ge=1024, le=65535)] = 29400
    """Port of the first machine on which the machines find each other."""

    def group(self) -> ProcessGroup:
        """Return the group that is asked for."""
        from framework.api.machine import gpu_count  # noqa: PLC0415 - 50 ms, which --help need not pay

        return ProcessGroup(self.engine, self.processes or gpu_count() or 1, self.machines, self.offloads)

    @property
    def offloads(self) -> bool:
        """Whether weights lie in the CPU's memory."""
        return False


@dataclass
class DdpConfig(GroupConfig):
    """DDP of torch: each process has the whole model and takes a part of each step's rows."""

    engine = Engine.ddp


@dataclass
class ShardedConfig(GroupConfig):
    """A group in which each process has a piece of the model."""

    cpu_offload: bool = False
    """Keep weights and the optimizer's states in the CPU's memory between their uses: slow, but there is more of it."""

    @property
    def offloads(self) -> bool:
        """Whether weights lie in the CPU's memory."""
        return self.cpu_offload


@dataclass
class Fsdp2Config(ShardedConfig):
    """FSDP2 of torch: weights, gradients and optimizer are cut into pieces, each process has one."""

    engine = Engine.fsdp2


@dataclass
class DeepspeedZero3Config(ShardedConfig):
    """ZeRO-3 of DeepSpeed: as FSDP2. Not tested: no machine with GPUs was available."""

    engine = Engine.deepspeed_zero3
