"""Locks of a sweep and its trials: two processes never run the same one.

The process that was started holds a lock in the folder of the sweep, and the process of a trial one in the
folder of the trial: workers of a launcher may outlive the process that asked for their trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework.util import lock
from framework.util.errors import FrameworkError


@contextmanager
def sweep(folder: Path) -> Iterator[None]:
    """Hold the folder of a sweep. It is made where there is none; if it stays empty it is removed at the end.

    Raises:
        FrameworkError: another process runs the sweep, or a trial of it.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    mine = lock.take(folder / lock.NAME)
    if mine is None:
        raise _locked(folder)
    busy = [file.parent for file in sorted(folder.glob(f"*/{lock.NAME}")) if lock.holder(file)]
    if busy:
        lock.release(mine)
        raise _locked(busy[0])
    try:
        yield
    finally:
        lock.release(mine)
        for path in new:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


@contextmanager
def trial(run: Path) -> Iterator[None]:
    """Lock a trial for this process.

    Raises:
        FrameworkError: another process holds it.
    """
    mine = lock.take(run / lock.NAME)
    if mine is None:
        raise _locked(run)
    try:
        yield
    finally:
        lock.release(mine)


def _locked(folder: Path) -> FrameworkError:
    by = lock.holder(folder / lock.NAME) or "another process"
    return FrameworkError(f"{folder}: locked by {by}. Wait for it to finish or set hydra.sweep.dir=FOLDER")
