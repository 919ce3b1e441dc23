"""A lock on a file that its process holds as long as it lives: the system lets go of it whatever ends the process.

The file is there while it is held, and tells by whom. Where the system or the disk has no such locks, nobody is seen.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import IO

NAME = ".lock"
PAUSE = 0.01
"""Seconds after which a lock is asked for again."""


class Lock:
    """A lock that is held.

    Args:
        path: of the file.
        file: the same, open and locked.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = file

    def release(self) -> None:
        """Let go of it, and take the file away first: what is taken away is held by nobody else."""
        if not self.file.closed:
            self.path.unlink(missing_ok=True)
            self.file.close()


def take(path: Path) -> Lock | None:
    """Lock a file, whose folder is there; None where another process has it."""
    while True:
        file = path.open("ab")
        if not _locked(file):
            file.close()
            return None
        if _is(path, file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
            file.flush()
            return Lock(path, file)
        file.close()  # whoever had it took the file away meanwhile


def wait(path: Path, seconds: float) -> Lock | None:
    """Lock a file when another process lets go of it; None where that takes longer."""
    end = time.monotonic() + seconds
    while (mine := take(path)) is None and time.monotonic() < end:
        time.sleep(PAUSE)
    return mine


def holder(path: Path) -> str:
    """Return who holds the lock on a file, `process 123 on node7`; empty where nobody does."""
    try:
        with path.open("rb") as file:
            if _locked(file, shared=True):
                return ""
            return file.read().decode(errors="replace") or "another process"
    except FileNotFoundError:
        return ""


def _is(path: Path, file: IO[bytes]) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _locked(file: IO[bytes], *, shared: bool = False) -> bool:
    """Lock an open file unless another process has it; where there are no locks, that is never so."""
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 - not on Windows

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # of a disk on the network that has none
        return True
    return True
