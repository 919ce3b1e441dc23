"""A lock on a file that its process holds as long as it lives: the system releases it whatever ends the process.

The file is there while it is held, and says by whom. On a disk without locks, nobody holds any.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from framework.util.errors import FrameworkError

if TYPE_CHECKING:
    from filelock import FileLock

NAME = ".lock"
PAUSE = 0.01
"""Seconds after which a lock is asked for again."""
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


def take(path: Path, *, seconds: float = 0) -> FileLock | None:
    """Lock a file in an existing folder; None where another process still holds the lock after `seconds`."""
    from filelock import FileLock, Timeout  # noqa: PLC0415 - 0.1 s that --help need not pay

    # Not bound to a thread: the end of the session may release it in another one.
    mine = FileLock(path, poll_interval=PAUSE, thread_local=False, on_acquired=_write_holder)
    try:
        mine.acquire(timeout=max(seconds, 3 * PAUSE))  # its file may be removed between opening and locking
    except Timeout:
        return None
    except OSError as error:
        # Some network disks have no locks; a run on one is better than none.
        if error.errno not in NO_LOCKS:
            raise
    return mine


def private_folder(folder: Path) -> Path:
    """Make a folder for this user alone below a shared one such as /tmp, where anybody may have put something else.

    Raises:
        FrameworkError: there is a link, a file, or a folder of somebody else or that others may write.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()  # of a link itself, not of what it points to
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise FrameworkError(
            f"{folder} is not a folder of this user alone, mode 700: remove it, or set TMPDIR to a folder of your own"
        )
    return folder


def _write_holder(file: int) -> None:
    os.ftruncate(file, 0)  # what a process that was killed has left
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())


def release(mine: FileLock) -> None:
    """Let go of a lock, and remove its file first: as long as it is locked, nobody else has a file of that name."""
    Path(mine.lock_file).unlink(missing_ok=True)
    mine.release()


def holder(path: Path) -> str:
    """Return who holds the lock on a file, `process 123 on node7`; empty where nobody does."""
    if not path.exists():
        return ""
    # A file alone says nothing: a process that was killed leaves it, without its lock.
    if mine := take(path):
        release(mine)
        return ""
    try:
        return path.read_text(encoding="utf-8", errors="replace") or "another process"
    except FileNotFoundError:  # released meanwhile
        return ""
