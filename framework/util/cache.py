"""The cache folder of the user, and small JSON files in it."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.util.errors import FrameworkError
from framework.util.files import write_atomically

log = logging.getLogger(__name__)
UNUSABLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST,
    errno.ENAMETOOLONG, errno.ELOOP, errno.ENOENT,
}  # fmt: skip
"""What a system says of a folder that cannot be read, made or written."""


def cache_dir() -> Path:
    """Return the cache folder: `FRAMEWORK_CACHE`, or `framework` below the user's cache.

    Raises:
        FrameworkError: the folder's name is not text.
    """
    setting = os.environ.get("FRAMEWORK_CACHE")
    try:
        folder = Path(setting or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "framework"))
        str(folder).encode()
    except UnicodeEncodeError as error:
        raise FrameworkError(
            f"the cache folder {str(folder)!a} is not UTF-8 text: set FRAMEWORK_CACHE=FOLDER"
        ) from error
    return folder


def of_the_cache(error: BaseException) -> FrameworkError | None:
    """Say that the cache folder cannot be used, if that is why a system refused a path; None for any other error."""
    if not isinstance(error, OSError) or error.errno not in UNUSABLE or not isinstance(error.filename, str):
        return None
    path = Path(error.filename).absolute()
    try:
        folder = cache_dir().absolute()
    except (FrameworkError, RuntimeError):  # there is none
        return None
    if not path.is_relative_to(folder) and not folder.is_relative_to(path):  # above it: the folder cannot be made
        return None
    return FrameworkError(
        f"the cache folder {folder} cannot be written: {os.strerror(error.errno)}. Set FRAMEWORK_CACHE=FOLDER"
    )


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON file of the cache; the result is empty if the file does not exist."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or half of one from a machine that lost power
        return {}
    return dict(content) if isinstance(content, Mapping) else {}


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file of the cache atomically; if the cache cannot be written, do nothing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(content))
    except OSError as error:
        log.info("%s is not cached: %s", file, error)
