"""One of two processes that make a step of the tiny model together. Not for users: `together.py` starts them."""

from __future__ import annotations

import importlib
import pickle
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from framework.api.errors import FrameworkError
from framework.api.launching import end_with
from framework.api.process_group import member
from framework.api.protocols import Backend
from framework.api.text import summarize_error

JOB, DONE, ENDED = "together.pickle", "together-done.pickle", "together-{}.txt"
"""In the folder of the two: what to do, the result, and the error of a process that died."""


def main(folder: str) -> int:
    """Make the step; the first process writes it, and one that fails writes why."""
    me = member()
    assert me is not None  # noqa: S101 - `together.py` sets what says so
    threading.Thread(target=end_with, args=(sys.stdin.fileno(), signal.SIGKILL), daemon=True).start()
    try:
        job: dict[str, Any] = pickle.loads(Path(folder, JOB).read_bytes())  # noqa: S301 - our own parent wrote it
        importlib.import_module(job["plan"].trainer.component.factory.partition(":")[0])  # Unsloth before all others
        found = _step(Path(folder), **job)
    except Exception as error:  # noqa: BLE001 - whatever it is, it would end the run
        told = str(error).splitlines()[0] if isinstance(error, FrameworkError) else summarize_error(error)
        Path(folder, ENDED.format(me.rank)).write_text(f"{time.time()} {told}", encoding="utf-8")
        return 1
    if me.rank == 0:
        Path(folder, DONE).write_bytes(pickle.dumps(found))
    return 0


def _step(place: Path, plan: Any, rows: Any, name: str) -> Any:
    from framework_plugins.unsloth.tried import fill, step  # noqa: PLC0415 - after what must be imported first

    backend: Backend = plan.trainer.create()
    with backend.open(plan) as opened:
        model: Any = opened  # of the one backend or the other
        fill(model.model)
        return step(model, rows, place, name)
