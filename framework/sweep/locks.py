"""Locks of a sweep and its trials: two processes never run the same one.

The process that was started holds a lock in the folder of the sweep, and the process of a trial one in the
folder of the trial: workers of a launcher may outlive the process that asked for their trials.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from framework.util import lock

REMEDY = "set hydra.sweep.dir=FOLDER"


@contextmanager
def sweep(folder: Path) -> Iterator[None]:
    """Hold the folder of a sweep. It is made if there is none; if it stays empty it is removed at the end.

    Raises:
        FrameworkError: another process runs the sweep, or a trial of it.
    """
    with lock.folder(folder, REMEDY):
        for file in sorted(folder.glob(f"*/{lock.NAME}")):
            if by := lock.holder(file):
                raise lock.locked(file.parent, by, REMEDY)
        yield


def trial(run: Path) -> AbstractContextManager[None]:
    """Lock a trial for this process.

    Raises:
        FrameworkError: another process holds it.
    """
    return lock.folder(run, REMEDY)
