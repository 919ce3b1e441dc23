"""Folders of others may have links: which of them would copy private files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from framework import FrameworkError


def refuse_links(folder: Path, name: str, *, besides: str = "") -> None:
    """Refuse a folder with links that lead out of it: a third-party folder could have private files copied.

    A snapshot in the cache of huggingface_hub may link to the blobs beside it. Whoever opens a named pipe waits for a
    writer, so a folder with one, or with a socket or a device, is refused too.

    Args:
        folder: is searched with all folders in it.
        name: how a message calls it.
        besides: the suffix of files that may lie elsewhere.

    Raises:
        FrameworkError: it has such a link, one that leads nowhere, or an entry that is neither a file nor a folder.
    """
    real_folder = folder.resolve()
    allowed = (
        [real_folder, (real_folder.parents[1] / "blobs").resolve()]
        if real_folder.parent.name == "snapshots"
        else [real_folder]
    )
    for parent, folders, files in os.walk(folder):
        for inner in (Path(parent, entry) for entry in (*folders, *files)):
            if kind := _special(inner):
                raise FrameworkError(
                    f"{name}: {inner.relative_to(folder)} is a {kind}, not a file: remove it, or put the file there"
                )
            if not inner.is_symlink() or (besides and inner.suffix == besides):
                continue
            target = Path(os.path.realpath(inner))  # `resolve` raises if a link leads to itself
            if not any(target.is_relative_to(root) for root in allowed):
                raise FrameworkError(
                    f"{name}: {inner.relative_to(folder)} is a link to {target}, outside of the folder, and would be "
                    "copied into exports: replace it with the file, or remove it"
                )
            if not os.path.lexists(target) or target.is_symlink():
                raise FrameworkError(
                    f"{name}: {inner.relative_to(folder)} is a link that leads nowhere: put the file "
                    "there, or remove it"
                )


def _special(path: Path) -> str:
    """Return what is at a path, also at the end of a link, if it is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:  # a link to nothing, which whoever needs it reports
        return ""
    kinds = {stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
    return kinds.get(stat.S_IFMT(mode), "")
