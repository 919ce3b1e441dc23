"""When Python looks for garbage. What libraries make while they are imported stays: to look through it takes 0.3 s."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collecting() -> Iterator[None]:
    """Leave garbage for later: imports make hundreds of thousands of objects, and a fifth of their time goes there."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@contextmanager
def set_aside() -> Iterator[None]:
    """Leave out of the search what is there now; within another `set_aside` nothing changes.

    Garbage among it is not found until the end, so this is for times at which there is little.
    """
    outermost = gc.get_freeze_count() == 0
    if outermost:
        gc.freeze()
    try:
        yield
    finally:
        if outermost:
            gc.unfreeze()
