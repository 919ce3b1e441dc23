"""Files and folders that are there whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

PART_SUFFIX = ".part"
"""How the name of a file or folder ends that is being written; that of a folder in a cache begins with it."""


def write_atomically(file: Path, content: str | bytes, *, errors: str = "strict", mode: int | None = None) -> None:
    """Write a file atomically: until it is replaced, and after a kill, readers see the earlier one.

    Several processes may write the same file at a time; the last one wins.

    Args:
        file: what to write; its folder is there.
        content: all of it; a text is encoded as UTF-8.
        errors: what becomes of letters that UTF-8 has not, as for `str.encode`.
        mode: who may read it, 0o600 for its owner alone; by default what the umask leaves.

    Raises:
        OSError: it cannot be written.
    """
    half = file.with_name(f"{file.name}.{os.getpid()}-{secrets.token_hex(4)}{PART_SUFFIX}")
    try:
        if mode is not None:  # before there is anything to read
            half.touch(mode)
        half.write_bytes(content if isinstance(content, bytes) else content.encode(errors=errors))
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(folder: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give a folder to write into, which is put at `folder` whole or not at all; the folders above it are made.

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
        yield half
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        try:
            half.rename(folder)
        except OSError:
            if replace or not folder.is_dir():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
