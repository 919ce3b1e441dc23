"""A step of the twin in two processes, which torchrun's agent starts and which train as those of a run's group do."""

from __future__ import annotations

import logging
import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from framework.api.errors import FrameworkError
from framework.api.plan import Plan
from framework.api.process_group import WORKER
from framework.api.records import TokenRow
from framework_plugins.unsloth.member import DONE, ENDED, JOB
from framework_plugins.unsloth.tried import Tried

TWO = 2
GRACE = 5
"""Seconds that the other process has to end before it is killed, when one has failed."""
CODE = "import sys; sys.path[:] = {!r}; from framework_plugins.unsloth.member import main; sys.exit(main({!r}))"


def step_together(plan: Plan, rows: list[TokenRow], place: Path, name: str) -> Tried:
    """Make the first step of a training in two processes, and return it as the first of them saw it.

    Args:
        plan: of the training, with a launch that asks for two processes.
        rows: of the step.
        place: a folder for it.
        name: how it is made.

    Raises:
        FrameworkError: a process failed; the message is what the first to do so says.
    """
    (place / JOB).write_bytes(pickle.dumps({"plan": plan, "rows": rows, "name": name}))
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=TWO, run_id="twin", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        local_addr="localhost", max_restarts=0, shutdown_timeout=GRACE,
    )  # fmt: skip
    with _as_members():
        try:
            elastic_launch(config, sys.executable)("-P", "-c", CODE.format(sys.path, str(place)))
        except ChildFailedError as error:
            launch = f"launch={plan.launch.component.name}: "
            message = launch + (_first_told(place) or error.get_first_failure()[1].message).removeprefix(launch)
            raise FrameworkError(message) from error
    found: Tried = pickle.loads((place / DONE).read_bytes())  # noqa: S301 - our own process wrote it
    return found


@contextmanager
def _as_members() -> Iterator[None]:
    """Let processes that are started know that they are in a group, and end with this one."""
    ours, theirs = os.pipe()
    os.dup2(ours, 0)
    os.environ[WORKER] = "1"
    try:
        yield
    finally:
        del os.environ[WORKER]
        os.close(theirs)
        os.close(ours)


def _first_told(place: Path) -> str:
    """Return what the process says that failed first; the other misses it a moment later."""
    told = [file.read_text(encoding="utf-8").partition(" ") for file in place.glob(ENDED.format("*"))]
    return min(told, key=lambda each: float(each[0]), default=("", "", ""))[2]
