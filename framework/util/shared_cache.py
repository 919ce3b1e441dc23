"""What trials of a sweep that run in one process share: one entry of each kind, valid for one key."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Entry:
    """A value, its key, and the bytes that it takes on a GPU."""

    key: str
    value: Any
    gpu_bytes: int = 0


class SharedCache:
    """Keeps one entry of each kind. Looking for another key drops the entry, and storing another one replaces it.

    It is closed, and keeps nothing, until a sweep whose trials share opens it.

    Attributes:
        is_open: whether it keeps anything.
        entries: what it holds, by kind.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.entries: dict[str, Entry] = {}

    def open(self) -> None:
        """Keep entries from now on."""
        self.is_open = True

    def close(self) -> None:
        """Drop every entry and keep nothing from now on."""
        self.is_open = False
        self.entries.clear()

    def find(self, kind: str, key: str) -> Any:
        """Return the value of a kind that was kept under this key, else None; an entry of another key is dropped."""
        entry = self.entries.get(kind)
        # Dropped before another is made: two bases may not fit into memory.
        if entry is None or not key or entry.key != key:
            self.drop(kind)
            return None
        return entry.value

    def drop(self, kind: str) -> None:
        """Drop the entry of a kind."""
        self.entries.pop(kind, None)

    def keep(self, kind: str, key: str, value: Any, *, gpu_bytes: int = 0) -> None:
        """Keep a value in place of the one of its kind; nothing if the cache is closed or the key is empty."""
        if self.is_open and key:
            self.entries[kind] = Entry(key, value, gpu_bytes)

    def get_or_make(self, kind: str, key: str, make: Callable[[], T]) -> T:
        """Return the value that is kept under a key, or make it and keep it."""
        value: T | None = self.find(kind, key)
        if value is None:
            value = make()
            self.keep(kind, key, value)
        return value

    @property
    def gpu_bytes(self) -> int:
        """Bytes on a GPU that the entries take: the next trial uses or frees them."""
        return sum(entry.gpu_bytes for entry in self.entries.values())
