"""The cache folder of the user, folders that are put there whole, and small JSON files in it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
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


def digest(key: str) -> str:
    """Return a name for what a key says."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def read_json(file: Path) -> dict[str, Any]:
    """Return what a file of the cache holds; nothing where it is not there."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or half of one from a machine that lost power
        return {}
    return dict(kept) if isinstance(kept, Mapping) else {}


def write_json(file: Path, kept: Mapping[str, Any]) -> None:
    """Write a file of the cache, whole or not at all; a cache that cannot be written is done without."""
    import tempfile  # noqa: PLC0415

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".part")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as half:
                json.dump(kept, half)
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        log.info("%s is not kept: %s", file, error)
