"""GPUs for concurrent trials of a sweep: each process claims one and sees no other.

A process holds a lock on a file for its GPU as long as it lives; the system lets go of it whatever ends the process. So
sweeps side by side do not meet on one GPU either.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from pathlib import Path

from framework.hooks.session import Session
from framework.util import gpus
from framework.util.lock import acquire, private_folder, release

VARIABLE = "CUDA_VISIBLE_DEVICES"
PAUSE = 0.5
"""Seconds between two looks for a GPU that is free."""


def visible() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    chosen = os.environ.get(VARIABLE)
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        # As CUDA does: devices after -1 are not seen.
        return names[: names.index("-1")] if "-1" in names else [name for name in names if name]
    return gpus.identities()


def claim_gpu(session: Session) -> str | None:
    """Leave this process one of several GPUs, the first that is free, and wait for one if all are taken.

    Returns its name; None if there is nothing to choose.
    """
    names = visible()
    if len(names) < 2 or sys.platform == "win32":  # noqa: PLR2004 - one is not a choice
        return None
    waited = False
    while True:
        for name in names:
            if _lock(name, session):
                os.environ[VARIABLE] = name
                return name
        if not waited:
            print(f"all {len(names)} GPUs are taken by other trials: this one waits", file=sys.stderr)
            waited = True
        time.sleep(PAUSE)


def _lock(name: str, session: Session) -> bool:
    """Take the lock of a GPU, until the end of the session, if nobody has it."""
    folder = private_folder(Path(tempfile.gettempdir(), f"framework-gpus-{os.getuid()}"))
    # A name is a number or a UUID, and a MIG device has slashes.
    file_lock = acquire(folder / re.sub(r"\W", "_", name))
    if file_lock is not None:
        session.on_exit.callback(release, file_lock)
    return file_lock is not None
