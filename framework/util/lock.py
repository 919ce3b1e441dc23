"""A lock on a file that its process holds as long as it lives: the system releases it whatever ends the process.

The file is there while it is held, and says by whom. On a disk without locks, nobody holds any.

The lock of a folder also holds between machines that share a disk and do not see each other's locks: its holder touches
the file every few seconds. Machines are distinguished by the id of their start, since names and process numbers repeat.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from framework.util.errors import FrameworkError

if TYPE_CHECKING:
    from filelock import FileLock

NAME = ".lock"
RETRY_SECONDS = 0.01
"""Seconds after which a lock is asked for again."""
HEARTBEAT_SECONDS, DEAD_AFTER_SECONDS = 5.0, 30.0
"""Seconds between two touches of a folder's lock, and after which a holder on another machine that did none is dead."""
POLL_SECONDS = 0.5
"""Seconds between two looks for such a touch."""
CLOCK_SKEW_SECONDS = 600.0
"""Seconds that the clocks of two machines may differ: a lock that was touched longer ago needs no look."""
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}


@contextlib.contextmanager
def folder(directory: Path, remedy: str) -> Iterator[None]:
    """Hold the lock of a folder. It is made if there is none; if it stays empty it is removed at the end.

    Args:
        directory: the folder.
        remedy: what else than to wait for the holder can be done, for the message.

    Raises:
        FrameworkError: another process holds it.
        OSError: the folder cannot be written.
    """
    # Listed before they are made: at the end, only folders that this call made are removed.
    new_folders = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    file, opened = directory / NAME, list[tuple[int, str, float]]()
    try:
        file_lock = acquire(file, acquired=lambda descriptor: opened.append((descriptor, *_read(descriptor))))
        if file_lock is None:
            raise locked(directory, holder(file) or "another process", remedy)
        if opened and (rival := _lives_elsewhere(file, *opened[0][1:])):
            file_lock.release()  # the file is the other's, and stays
            raise locked(directory, rival, remedy)
        for descriptor, *_ in opened:  # Windows lets the one who locked a file write it by this number only
            _write(descriptor, f"{me()}\n{machine()}\n")
        stop = threading.Event()
        # A daemon: it must not keep a process alive whose main thread has ended.
        threading.Thread(target=_beat, args=(file, stop), daemon=True).start()
        try:
            yield
        finally:
            stop.set()
            release(file_lock)
    finally:
        for path in new_folders:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def locked(directory: Path, by: str, remedy: str) -> FrameworkError:
    """Return the refusal of a folder that another process holds."""
    return FrameworkError(f"{directory}: locked by {by}. Wait for it to finish or {remedy}")


def me() -> str:
    """Return how this process is called in messages."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def machine() -> str:
    """Return what only this machine, since its start, calls itself."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # no Linux
        return f"{socket.gethostname()} {uuid.getnode():x}"


def _read(opened: int) -> tuple[str, float]:
    """Return what the file of a lock says, and when it was touched."""
    os.lseek(opened, 0, os.SEEK_SET)
    return _printable(os.read(opened, 1000)), os.fstat(opened).st_mtime  # the file of somebody else may have any size


def _printable(text: bytes) -> str:
    """Return what the file of a lock says, which may be from anywhere, without characters that a terminal obeys."""
    lines = text.decode(errors="replace").splitlines()
    return "\n".join("".join(character if character.isprintable() else "?" for character in line) for line in lines)


def _lives_elsewhere(file: Path, text: str, touched: float) -> str:
    """Return who holds a lock on another machine, whose locks are not seen here; empty if nobody does.

    No clocks are compared: who lives touches the file again.
    """
    who, _, machine_id = text.strip().partition("\n")
    if not machine_id or machine_id == machine() or abs(time.time() - touched) > CLOCK_SKEW_SECONDS:
        return ""
    print(f"{file}: {who} may still be running: waiting up to {DEAD_AFTER_SECONDS:g} s to find out", file=sys.stderr)
    end = time.monotonic() + DEAD_AFTER_SECONDS
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        with (
            contextlib.suppress(FileNotFoundError),
            file.open("rb") as opened,
        ):  # opened: a network disk asks its server
            if os.fstat(opened.fileno()).st_mtime != touched:
                return who
    return ""


def _beat(file: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        with contextlib.suppress(OSError):  # it was taken away by hand, or the disk is gone for a while
            os.utime(file)


def acquire(path: Path, *, seconds: float = 0, acquired: Callable[[int], None] | None = None) -> FileLock | None:
    """Lock a file in an existing folder; None if another process still holds the lock after `seconds`.

    Args:
        path: the file.
        seconds: how long another process is waited for.
        acquired: gets the opened file when it is locked, instead of that the holder is written into it.
    """
    from filelock import FileLock, Timeout  # noqa: PLC0415 - 0.1 s that --help need not pay

    # Not bound to a thread: the end of the session may release it in another one.
    file_lock = FileLock(path, poll_interval=RETRY_SECONDS, thread_local=False, on_acquired=acquired or _write_holder)
    try:
        file_lock.acquire(
            timeout=max(seconds, 3 * RETRY_SECONDS)
        )  # its file may be removed between opening and locking
    except Timeout:
        return None
    except OSError as error:
        # Some network disks have no locks; a run on one is better than none.
        if error.errno not in NO_LOCKS:
            raise
    return file_lock


def private_folder(folder: Path) -> Path:
    """Make a folder for this user only below a shared one such as /tmp, where anybody may have put something else.

    Raises:
        FrameworkError: there is a link, a file, or a folder of somebody else or that others may write.
    """
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()  # of a link itself, not of what it points to
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise FrameworkError(
            f"{folder} is not a folder that only you can use, mode 700: remove it, or set TMPDIR to a folder of "
            "your own"
        )
    return folder


def _write_holder(file: int) -> None:
    _write(file, me())


def _write(file: int, text: str) -> None:
    os.ftruncate(file, 0)  # what a process that was killed has left
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, text.encode())


def release(file_lock: FileLock) -> None:
    """Let go of a lock, and remove its file first: as long as it is locked, nobody else has a file of that name."""
    with contextlib.suppress(PermissionError):  # on Windows a file that is open stays, unlocked
        Path(file_lock.lock_file).unlink(missing_ok=True)
    file_lock.release()


def holder(path: Path) -> str:
    """Return who holds the lock on a file, `process 123 on node7`; empty if nobody does."""
    if not path.exists():
        return ""
    # A file alone says nothing: a process that was killed leaves it, without its lock.
    before: list[tuple[str, float]] = []
    if file_lock := acquire(path, acquired=lambda opened: before.append(_read(opened))):
        if before and (rival := _lives_elsewhere(path, *before[0])):
            file_lock.release()
            return rival
        release(file_lock)
        return ""
    try:
        return _printable(path.read_bytes()[:1000]).partition("\n")[0] or "another process"
    except FileNotFoundError:  # released meanwhile
        return ""
