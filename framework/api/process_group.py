"""A group of processes that train one model: what a launcher asks for, and what each process knows about itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import Enum

from framework.memory.settings import weight_shards

__all__ = [
    "GROUP_STORE",
    "OUTER_VARIABLES",
    "WORKER",
    "Engine",
    "Evaluation",
    "Member",
    "ProcessGroup",
    "member",
    "outer_member",
]

WORKER = "FRAMEWORK_WORKER"
"""Set in the processes of a group, so that a backend knows that it is in one."""
GROUP_STORE = "FRAMEWORK_GROUP_STORE"
"""The file by which the processes of a group on one machine meet; see `Member.store`."""


PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""The variables in which torchrun gives each process its place in the group."""
OUTER_VARIABLES = (*PLACE, "MASTER_ADDR", "MASTER_PORT")
"""The variables in which torchrun gives a process its place, and says where the processes meet."""


class Engine(Enum):
    """How the work is divided: `ddp` copies the model into each process, `fsdp2` shards it."""

    ddp = "ddp"
    fsdp2 = "fsdp2"


class Evaluation(Enum):
    """Where the layers of a model are while it is evaluated: `whole` on one GPU, `split` over those of a machine."""

    auto = "auto"
    whole = "whole"
    split = "split"


@dataclass(frozen=True)
class ProcessGroup:
    """What a launcher asks for.

    Attributes:
        engine: how the work is divided.
        processes: how many, one for each GPU.
        cpu_offload: whether weights and optimizer states are in CPU memory while they are not in use.
        shard_size: with `fsdp2`, how many of them hold the weights together; 0: all.
        evaluation: where the layers are before and after the training, which one process then runs.
        on_each_machine: how many of the processes one machine has.
    """

    engine: Engine
    processes: int
    cpu_offload: bool = False
    shard_size: int = 0
    evaluation: Evaluation = Evaluation.whole
    on_each_machine: int = 1

    @property
    def sharded(self) -> bool:
        """Whether each process holds only a shard of the weights."""
        return self.engine is Engine.fsdp2

    @property
    def shards(self) -> int:
        """How many shards the weights have; 1 if each process holds all of them."""
        return weight_shards(self.processes, self.shard_size, sharded=self.sharded)

    @property
    def replicas(self) -> int:
        """How many processes hold the same weights."""
        return self.processes // self.shards

    @property
    def hybrid(self) -> bool:
        """Whether there are replicas of shards (HSDP)."""
        return self.sharded and self.replicas > 1


@dataclass(frozen=True)
class Member:
    """One process of a group.

    Attributes:
        rank: its number, from 0.
        world: how many there are.
        local_rank: the number of its GPU.
        store: the file of the `torch.distributed.FileStore` by which they meet: a port would be open to other machines.
            Empty if they are on several machines, which meet at `MASTER_ADDR` and `MASTER_PORT`.
    """

    rank: int
    world: int
    local_rank: int
    store: str = ""


def member() -> Member | None:
    """Return this process's place in its group; None outside a group."""
    if not {WORKER, *PLACE} <= {*os.environ}:
        return None
    rank, world, local_rank = (int(os.environ[name]) for name in PLACE)
    return Member(rank, world, local_rank, store=os.environ.get(GROUP_STORE, ""))


def outer_member() -> Member | None:
    """Return the place of a process that an outer torchrun starts as one of a group; None for any other process."""
    if WORKER in os.environ or not {*OUTER_VARIABLES} <= {*os.environ}:
        return None
    values = [os.environ[name] for name in PLACE]
    if not all(value.isdecimal() for value in values):
        return None
    rank, world, local_rank = map(int, values)
    return Member(rank, world, local_rank)
