"""What points of a sweep that run in one process share: one thing of each kind is kept from one run to the next.

A thing is kept with a key over all that determines it, and is found again under that key alone; another key takes its
place, which frees it. Outside a sweep the shelf is shut and nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_kept: dict[str, Kept] = {}
_is_open = False


@dataclass(frozen=True)
class Kept:
    """A thing, its key, and the bytes that it takes on a GPU."""

    key: str
    thing: Any
    gpu_bytes: int = 0


def open_for(*, sweep: bool) -> None:
    """Keep things from now on, in a `sweep` whose points share them; else let go of all."""
    global _is_open  # noqa: PLW0603 - a process has one shelf
    _is_open = sweep
    if not sweep:
        _kept.clear()


def is_open() -> bool:
    """Whether things are kept."""
    return _is_open


def key_of(*parts: Any) -> str:
    """Return a key over plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def find(kind: str, key: str) -> Any:
    """Return what is kept of a kind under this key, None where that is nothing; of another key it is let go of."""
    kept = _kept.get(kind)
    if kept is None or not key or kept.key != key:
        drop(kind)
        return None
    return kept.thing


def find_kind(kind: str) -> Any:
    """Return what is kept of a kind, whatever its key; None where that is nothing."""
    kept = _kept.get(kind)
    return kept.thing if kept else None


def drop(kind: str) -> None:
    """Let go of what is kept of a kind."""
    _kept.pop(kind, None)


def keep(kind: str, key: str, thing: Any, *, gpu_bytes: int = 0) -> None:
    """Keep a thing, in place of another of its kind; nothing where the shelf is shut or the key is empty."""
    if _is_open and key:
        _kept[kind] = Kept(key, thing, gpu_bytes)


def shared(kind: str, key: str, make: Callable[[], T]) -> T:
    """Return what is kept under a key, or make it and keep it."""
    found: T | None = find(kind, key)
    if found is None:
        found = make()
        keep(kind, key, found)
    return found


def gpu_bytes() -> int:
    """Return the bytes of a GPU that are taken by what is kept: the next run uses or frees them."""
    return sum(kept.gpu_bytes for kept in _kept.values())
