"""Options of `launch=`."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge, Gt

from framework.api import Affects, Gpu, NamesCode
from framework.api.program import CommandConfig, LaunchConfig
from framework.api.training import Engine, Evaluation, ProcessGroup
from framework_plugins.lib.group_member import WORKER, outer_member

if TYPE_CHECKING:
    from framework import Plan

FAILED_FILE = "failed.json"
"""Where the agent of a group notes the exit codes of processes that died."""


class Where(Enum):
    """On which machine a run happens."""

    local = "local"
    """On this machine."""
    slurm = "slurm"
    """In a job that Slurm starts when there is room; the command ends when the job is submitted."""
    ray = "ray"
    """On nodes of a Ray cluster; the command ends with the run."""


@dataclass
class SlurmConfig:
    """The job of `launch.on=slurm`. What is null is left to the cluster."""

    partition: str | None = None
    """The partition; `sinfo` lists them."""
    account: str | None = None
    """The account that pays."""
    qos: str | None = None
    """The quality of service."""
    minutes: Annotated[int, Gt(0)] = 720
    """The time limit. Before it, the run saves a checkpoint and the job goes back into the queue."""
    requeues: Annotated[int, Ge(0)] = 10
    """How often a job that reaches its time limit goes back into the queue."""
    gpus: Annotated[int | None, Ge(0)] = None
    """GPUs of each node. null: one for each process, or none with trainer.device=cpu."""
    cpus: Annotated[int | None, Gt(0)] = None
    """CPU cores of each node."""
    memory_gb: Annotated[int | None, Gt(0)] = None
    """GB of memory of each node."""
    more: Annotated[list[str], NamesCode()] = field(default_factory=list)
    """Other options of sbatch by their long names, `["constraint=a100", exclusive]`."""


@dataclass
class RayConfig:
    """The nodes of `launch.on=ray`: one, or `launch.nodes`."""

    address: Annotated[str | None, NamesCode()] = None
    """The cluster: auto, or HOST:PORT. null: what RAY_ADDRESS names, or a new cluster of this machine."""
    gpus: Annotated[int | None, Ge(0)] = None
    """GPUs of each node. null: one for each process, or none with trainer.device=cpu."""
    cpus: Annotated[int, Gt(0)] = 1
    """CPU cores that the run takes of each node."""
    failures: Annotated[int, Ge(0)] = 3
    """How often the run starts again from its newest checkpoint when a node or a process is lost."""


@dataclass
class PlacedConfig(LaunchConfig):
    """What all options have: on which machine the run happens."""

    on: Annotated[Where, Affects.nothing] = Where.local
    """Where the run happens: local, on this machine; slurm, in a job of Slurm; ray, on nodes of a Ray cluster."""
    slurm: Annotated[SlurmConfig, Affects.nothing] = field(default_factory=SlurmConfig)
    """The job of `launch.on=slurm`."""
    ray: Annotated[RayConfig, Affects.nothing] = field(default_factory=RayConfig)
    """The nodes of `launch.on=ray`."""

    def unreported(self) -> str:
        """Say that nobody waits for a job."""
        return "launch.on=slurm only submits the run" if self.on is Where.slurm else ""


@dataclass
class SingleConfig(PlacedConfig):
    """In the process that was started; a run that cannot share it continues in a new one."""


@dataclass
class SubprocessConfig(PlacedConfig):
    """In a process of its own: all memory is freed at the end, and a killed run does not end a sweep."""


@dataclass
class GroupConfig(PlacedConfig):
    """In a group of processes, one for each GPU, started by torchrun's agent or by an outer torchrun."""

    engine: ClassVar[Engine]

    processes: Annotated[int | None, Gt(0)] = None
    """Processes of each machine. null: one for each visible GPU, or those of an outer torchrun."""
    nodes: Annotated[int | None, Gt(0)] = None
    """How many machines train together. null: this one, or those of an outer torchrun."""
    rendezvous: Annotated[str | None, NamesCode(), Affects.nothing] = None
    """HOST:PORT where the machines of `nodes` meet: one of them, and a free port there."""
    wait_seconds: Annotated[float, Gt(0), Affects.nothing] = 600.0
    """How long machines and processes wait for each other."""
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
        return self.processes or Gpu.count() or 1

    @property
    def starts_nodes(self) -> bool:
        """Whether this process only starts those of its machine, and joins them with those of other machines."""
        is_multi_node = (self.nodes or 1) > 1 and self.on is Where.local
        return is_multi_node and outer_member() is None and WORKER not in os.environ

    def writes(self) -> bool:
        """Whether this process runs the stages: the first of its group."""
        outer = outer_member()
        return not self.starts_nodes and (outer is None or outer.rank == 0)

    def unreported(self) -> str:
        """Say which other process makes the report."""
        return super().unreported() or ("" if self.writes() else "another process of its group makes it")


@dataclass
class DdpConfig(GroupConfig):
    """PyTorch's DDP: each process has the whole model and takes a part of each step's rows."""

    engine = Engine.ddp


@dataclass
class Fsdp2Config(GroupConfig):
    """PyTorch's FSDP2: weights, gradients and optimizer states are sharded over the processes."""

    engine = Engine.fsdp2

    dp_shard_size: Annotated[int | None, Ge(2)] = None
    """How many processes hold the weights together; the others hold replicas (HSDP). null: all processes."""
    cpu_offload: bool = False
    """Keep unused weights and optimizer states in CPU memory: slow, but there is more of it."""
    evaluation: Annotated[Evaluation, Affects.nothing] = Evaluation.auto
    """Where the layers are before and after the training. whole: on one GPU; split: divided over the GPUs of this
    machine; auto: split if the plan says that one GPU cannot hold them."""

    def group(self) -> ProcessGroup:
        """Return the group that is asked for."""
        return replace(
            super().group(),
            cpu_offload=self.cpu_offload,
            shard_size=self.dp_shard_size or 0,
            evaluation=self.evaluation,
            on_each_machine=self.on_each_node,
        )


def nodes(config: PlacedConfig) -> int:
    """Return how many machines a run asks for."""
    return (config.nodes or 1) if isinstance(config, GroupConfig) else 1


def gpus(plan: Plan, config: PlacedConfig, count: int | None) -> int:
    """Return the GPUs of each machine: `count`, or if that is None one for each process, none on a CPU."""
    if count is not None:
        return count
    if not plan.trainer.config.may_use_gpu():
        return 0
    return (config.processes or 1) if isinstance(config, GroupConfig) else 1


@dataclass
class LaunchFileCommandConfig(CommandConfig):
    """Print the file with which Kubeflow Trainer, SkyPilot or dstack starts a run."""

    usage = "KIND [KEY=VALUE…]"
