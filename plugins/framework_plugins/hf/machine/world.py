"""The processes that train together, as each of them sees it; one process is a world of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import distributed

T = TypeVar("T")


def gather_objects(value: Any) -> list[Any]:
    """Return what each process of the group has, in their order."""
    objects: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(objects, value)
    return objects


@dataclass(frozen=True)
class World:
    """What a process knows of the others. All of them call the methods together.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        gather: returns what each of several processes has, in their order.
    """

    rank: int = 0
    size: int = 1
    gather: Callable[[Any], list[Any]] = gather_objects

    @property
    def is_first(self) -> bool:
        """Whether it is the process that writes."""
        return self.rank == 0

    def all_gather(self, value: T) -> list[T]:
        """Return what each process has, in their order."""
        return [value] if self.size == 1 else self.gather(value)

    def all_max(self, value: int) -> int:
        """Return the largest number that a process has."""
        return max(self.all_gather(value))

    def all_sum(self, value: float) -> float:
        """Return the sum of what the processes have."""
        return sum(self.all_gather(value))

    def from_first(self, decide: Callable[[], T]) -> T:
        """Return what the first process decides."""
        return self.all_gather(decide() if self.is_first else None)[0]  # type: ignore[return-value] # the first decides

    # Not whole batches in turn, as accelerate gives them: a step would depend on how many processes there are.
    # Neighbours, since those share a beginning.
    def share(self, count: int) -> slice:
        """Return which of `count` items this process takes."""
        size = math.ceil(count / self.size)
        return slice(self.rank * size, (self.rank + 1) * size)

    def own(self, items: Sequence[T]) -> Sequence[T]:
        """Return the items that this process takes."""
        return items[self.share(len(items))]


ALONE = World()
