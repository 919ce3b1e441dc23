"""Files and folders that are there whole, or not at all, after a loss of power too; and what a full disk looks like."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from framework.util.errors import message_of

PART_SUFFIX = ".part"
"""How the name of a file or folder ends that is being written; that of a folder in a cache begins with it."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""What a system says that does not take what is written: no space, a quota, a limit, a broken disk, a read-only one."""
UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES}
"""What a system says that cannot sync a folder."""


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what a system raises name a path if it names none, as when a full disk refuses a buffer."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


LARGEST = 2**28
"""Bytes of the largest file that is read whole."""


def read_text(file: Path) -> str:
    """Read a file of a run folder, which may come from elsewhere: a pipe or a device would never end.

    Raises:
        OSError: there is none, it is not a regular file, or it is larger than any that a run writes.
        UnicodeDecodeError: it is not UTF-8.
    """
    with open(file, encoding="utf-8", opener=_regular) as opened:
        return opened.read()


def _regular(file: str, flags: int) -> int:
    descriptor = os.open(file, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe that nobody writes into would wait here
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST:
        return descriptor
    os.close(descriptor)
    large = f"it is larger than {LARGEST // 2**20} MiB"
    raise OSError(errno.EINVAL, large if stat.S_ISREG(status.st_mode) else "it is not a regular file", file)


def write_atomically(file: Path, content: str | bytes, *, errors: str = "strict", mode: int | None = None) -> None:
    """Write a file atomically: readers see the old file or the new one, also after a kill or a loss of power.

    Several processes may write the same file at a time; the last one wins.

    Args:
        file: what to write; its folder is there.
        content: all of it; a text is encoded as UTF-8.
        errors: what becomes of letters that UTF-8 has not, as for `str.encode`.
        mode: who may read it, 0o600 for its owner only; by default what the umask leaves.

    Raises:
        OSError: it cannot be written.
    """
    # The process and a random part: threads of one process may write the same file, too.
    half = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        if mode is not None:  # before there is anything to read
            half.touch(mode)
        with naming(file), half.open("wb") as opened:
            opened.write(content if isinstance(content, bytes) else content.encode(errors=errors))
            opened.flush()
            os.fsync(opened.fileno())
        half.replace(file)  # which is atomic within one folder
        _sync_folder(file.parent)
    finally:
        half.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a folder to write into, which becomes `folder` as a whole or not at all; parent folders are created.

    Args:
        folder: what another process has put there meanwhile stays.
        replace: replace an earlier folder instead. Only one process may write it.

    Raises:
        OSError: it cannot be written.
    """
    import shutil  # noqa: PLC0415 - 3 ms that --help need not pay
    import tempfile  # noqa: PLC0415 - as above

    folder.parent.mkdir(parents=True, exist_ok=True)
    if replace:  # of the same name each time: what a killed process left is not kept
        half = folder.with_name(folder.name + PART_SUFFIX)
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
    else:
        half = Path(tempfile.mkdtemp(prefix=PART_SUFFIX, dir=folder.parent))
    try:
        with naming(folder):
            yield half
            _sync_below(half)
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            half.rename(folder)
        except OSError:
            # Without `replace`, another process was first, and what it made is the same.
            if replace or not folder.is_dir():
                raise
        _sync_folder(folder.parent)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def _sync_below(folder: Path) -> None:
    """Have the system write all files and folders below a folder to the disk, and the folder itself."""
    # From the inside out: what a folder lists is on the disk before the folder is.
    for parent, _, names in os.walk(folder, topdown=False):
        for name in names:
            if not (file := Path(parent, name)).is_symlink():
                with file.open("rb") as opened:
                    os.fsync(opened.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    """Have the system write the names in a folder to the disk; some systems cannot, and need not."""
    if os.name == "nt":
        return
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written and not be read
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(opened)


def write_failure(error: BaseException) -> str:
    """Return why the system refused a write, `No space left on device`; empty for any other error.

    safetensors and tokenizers, in Rust, torch, in C++, and numpy raise errors of their own, with the reason in the text
    or without one.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno) if error.errno in FULL else ""
    # So does Rust print an error of the system; torch's writer of zip files and numpy give no number.
    if (match := re.search(r"\(os error (\d+)\)", message_of(error))) and int(match[1]) in FULL:
        return os.strerror(int(match[1]))
    writers = {RuntimeError: "PytorchStreamWriter|inline_container", OSError: r"\d+ requested and \d+ written"}
    partly = any(isinstance(error, kind) and re.search(text, message_of(error)) for kind, text in writers.items())
    return "the file could not be written completely" if partly else ""


def describe_room(folder: Path, needed: int | None = None) -> str:
    """Say how much is free on the disk of a folder, and how much is missing if `needed` bytes have to fit."""
    import shutil  # noqa: PLC0415 - as above

    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    if needed is None or needed <= free:
        return f"{free / 1e6:,.1f} MB are free there"
    numbers = [f"{size / 1e6:,.1f} MB" for size in (needed, free, needed - free)]
    return "{} are needed and {} are free there: {} are missing".format(*numbers)
