"""What a process of a group knows about itself: the variables that torchrun sets, and two of our own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORKER = "FRAMEWORK_WORKER"
"""Set in the processes of a group, so that a backend knows that it is in one."""
GROUP_STORE = "FRAMEWORK_GROUP_STORE"
"""The file by which the processes of a group on one machine meet; see `Member.store`."""


PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
"""The variables in which torchrun gives each process its place in the group."""
OUTER_VARIABLES = (*PLACE, "MASTER_ADDR", "MASTER_PORT")
"""The variables in which torchrun gives a process its place, and says where the processes meet."""


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


@runtime_checkable
class NumberedRows(Protocol):
    """Rows with their `numbers` in `Data.store`, for processes that read them from there."""

    numbers: NDArray[np.int64]
