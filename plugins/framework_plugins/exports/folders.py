"""A folder that an exporter makes: complete or absent; it never replaces anything but an export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import atomic_folder, write_failure

CONFIG = "run_config.json"
"""The config of the run, without secrets. It also marks a folder as made by an exporter."""


@contextmanager
def whole(folder: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder to write into; it becomes `folder` at the end, and is removed after an error.

    Args:
        folder: replaces an earlier export.
        config: of the run, as plain values without secrets; written beside what the exporter writes.

    Raises:
        FrameworkError: `folder` holds something else, or cannot be made.
        OSError: the disk is full.
    """
    if problem := foreign(folder):
        raise FrameworkError(problem)
    try:
        with atomic_folder(folder, replace=True) as half:
            yield half
            (half / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        if write_failure(error):  # the run says that of every file alike
            raise
        place = f" ({error.filename})" if error.filename else ""
        raise FrameworkError(f"{folder} was not made: {error.strerror or error}{place}") from error


def foreign(folder: Path) -> str:
    """Say that a folder holds what no exporter made; empty where it may be written."""
    if folder.is_dir() and (not any(folder.iterdir()) or (folder / CONFIG).is_file()):
        return ""
    if not folder.exists():
        return ""
    return f"{folder} exists, and no exporter made it ({CONFIG} is missing): move it away, or choose another name"


def check_room(folder: Path, needed: int) -> None:
    """Make sure that a folder can be written before it is begun.

    Raises:
        FrameworkError: the disk has less than `needed` bytes free.
    """
    place = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise FrameworkError(
            f"{folder} needs {needed / 1e9:.2f} GB, and {free / 1e9:.2f} are free: make room, or give another run_dir"
        )


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
