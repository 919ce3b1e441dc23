"""Environments in the shape in which they are published for TRL's `environment_factory`."""

from __future__ import annotations

from typing import Any


class Counter:
    """A number that has to become another one."""

    def __init__(self) -> None:
        self.value = self.target = 0

    def reset(self, target: int = 0, **_: Any) -> str | None:
        self.value, self.target = 0, target
        return f" The counter is at {self.value}."

    def add(self, amount: int) -> str:
        """Add to the counter.

        Args:
            amount: How much is added.

        Returns:
            What the counter shows.
        """
        if amount < 0:
            raise ValueError("it only counts up")
        self.value += amount
        return f"It shows {self.value}."

    async def look(self) -> str:
        """Look at the counter.

        Returns:
            What the counter shows.
        """
        return f"It still shows {self.value}."

    def get_reward(self) -> float:
        return float(self.value == self.target)


class Plain(Counter):
    """The same, for a reward function."""

    get_reward = None  # type: ignore[assignment] # it has none


def plain() -> Plain:
    """Return one, as a function does."""
    return Plain()


class Breaks(Counter):
    """One that cannot begin."""

    def reset(self, target: int = 0, **_: Any) -> None:  # noqa: ARG002 - as its parent
        raise KeyError("level")


class Exits(Counter):
    """One that ends the program."""

    def reset(self, target: int = 0, **_: Any) -> None:  # noqa: ARG002 - as its parent
        raise SystemExit(3)


class NoReset:
    """None."""


def at_target(environments: Any, **_: Any) -> list[float]:
    return [float(each.value == each.target) for each in environments]
