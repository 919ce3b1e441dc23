"""The cache folder of the user: converted models, tokenized data."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

HALF = ".part-"
"""How the name of a folder begins that is not complete."""


def cache_dir() -> Path:
    """Return the cache folder: `FRAMEWORK_CACHE`, or `framework` below the user's cache."""
    if own := os.environ.get("FRAMEWORK_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "framework"


@contextlib.contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """Give a folder to write into, which is put at `folder` whole or not at all.

    Another process may be faster; then what that one has put there stays.
    """
    import shutil  # noqa: PLC0415 - 3 ms that --help need not pay
    import tempfile  # noqa: PLC0415

    folder.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(prefix=HALF, dir=folder.parent))
    try:
        yield half
        try:
            half.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(half, ignore_errors=True)
