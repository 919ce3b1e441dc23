"""A group of processes that train one model: what a launcher asks for."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from framework.memory.settings import weight_shards

__all__ = ["Engine", "Evaluation", "ProcessGroup"]


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
