"""One process of a group that trains: torchrun starts `python -m framework_plugins.launch.worker RUN_DIR`.

Not for users. `launcher.py` saves the plan in the run's folder, and what else the job takes, and has torchrun's agent
start as many of these as it was asked for; each opens the model with the run's own backend and trains it together with
the others. The first of them sends the launcher each step through a named pipe and reads what to do from another; only
it writes. Beside the job it leaves the result, and each process the error that ended it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from framework import FrameworkError
from framework.api.program import Interrupted, error_traceback, save_record
from framework.api.training import Backend, TokenGroup, TrainRun
from framework_plugins.launch.child import USER_MISTAKE
from framework_plugins.launch.pickled_plan import PickledPlan, end_with
from framework_plugins.lib.group_member import WORKER, Member, member

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

JobRows: TypeAlias = "NDArray[np.int64] | list[TokenGroup]"

GROUP = ".group.part"
"""The folder of a group's job inside the run folder; it is removed with the group."""
JOB = "job.pickle"
STOP = "stop"
"""A file that asks the processes to save a checkpoint and to end. It holds the number of the signal."""
STEPS, CONTROLS = "steps", "controls"
"""Named pipes: the first process writes what it asks of the run into the one, a method of `TrainRun` and its arguments,
and reads the answer from the other: a `StepControl` for a `Step`."""
RESULT = "result.json"
ENDED = "ended-{}.json"
ALONE = (
    "framework_plugins.launch.worker is not started by hand: python -m framework … launch=ddp launch.processes=N "
    "starts N of them"
)


OF_GLOO = "gloo/transport"
"""What gloo's errors have in their text if a connection breaks."""


class LostError(FrameworkError):
    """A process of the group is gone: killed, or ended by an error of its own, which is then the cause."""


@contextmanager
def noticing_loss() -> Iterator[None]:
    """Turn what gloo raises if another process is gone into a line.

    Raises:
        LostError: instead of that.
    """
    try:
        yield
    except RuntimeError as error:
        if OF_GLOO not in str(error):
            raise
        reason = str(error).partition("] ")[2].partition(". ")[0]
        raise LostError(
            f"another process of the group is gone ({reason}). Start all processes again with the same command: "
            "the run continues from its newest checkpoint"
        ) from error


@dataclass(frozen=True)
class Job:
    """The work of a group of processes.

    Attributes:
        packed: the plan.
        store: where the tokenized rows lie.
        train: the rows to train on, by their numbers in the store, or themselves.
        validation: those to validate on.
        checkpoint: where the weights are saved.
        scratch: a folder for what is only needed meanwhile.
    """

    packed: PickledPlan
    store: Path
    train: JobRows
    validation: JobRows
    checkpoint: Path
    scratch: Path


@dataclass(frozen=True)
class Ended:
    """Why a process died: `text` is the error's message, or a traceback if the user cannot fix it."""

    rank: int
    time: float
    mistake: bool
    text: str


def main() -> int:
    """Do the job."""
    folder = Path(*sys.argv[1:]) / GROUP
    os.environ[WORKER] = "1"
    me = member()
    if me is None or not (folder / JOB).exists():
        print(ALONE, file=sys.stderr)  # noqa: T201 - as the program does
        return USER_MISTAKE
    # The pipe that ends with the launcher is everybody's standard input.
    threading.Thread(target=end_with, args=(sys.stdin.fileno(), signal.SIGKILL), daemon=True).start()
    try:
        job: Job = pickle.loads((folder / JOB).read_bytes())  # noqa: S301 - our own launcher wrote it
        _train(job, me, folder)
    except FrameworkError as error:
        save_record(Ended(me.rank, time.time(), mistake=True, text=str(error)), folder / ENDED.format(me.rank))
        return USER_MISTAKE
    except Interrupted as error:
        return error.code
    except BaseException as error:  # noqa: BLE001 - whatever it is, the launcher tells it
        save_record(
            Ended(me.rank, time.time(), mistake=False, text=error_traceback(error)), folder / ENDED.format(me.rank)
        )
        return 1
    return 0


def _train(job: Job, me: Member, folder: Path) -> None:
    plan = job.packed.load()
    from framework.api import rewarding  # noqa: PLC0415 - after the plugins: one may want to be first
    from framework.api.program import stored_prompts  # noqa: PLC0415 - as above

    ask = LauncherPipes(folder).ask if me.rank == 0 else nobody
    backend: Backend = plan.trainer.create()
    with backend.open(plan) as model:
        rows, held_out = (
            _rows(job.store, job_rows, plan.training.max_seq_length) for job_rows in (job.train, job.validation)
        )
        run = TrainRun(
            job.checkpoint, job.scratch, partial(ask, "on_step"), interruption=partial(_interruption, folder / STOP),
            state=partial(ask, "state"), restore=partial(ask, "restore"),
        )  # fmt: skip
        if plan.method.config.samples and not isinstance(job.train, list):  # the rows are prompts
            run = replace(run, prompts=stored_prompts(job.store, job.train), reward=rewarding.rewarder(plan.reward))
        with noticing_loss():
            result = model.train(rows, held_out, run)
        if me.rank == 0:
            save_record(result, folder / RESULT)


def _rows(store: Path, job_rows: JobRows, limit: int) -> Sequence[TokenGroup]:
    from framework.api.program import stored_rows  # noqa: PLC0415 - numpy and Arrow

    return job_rows if isinstance(job_rows, list) else stored_rows(store, [job_rows], limit)[0]


def _interruption(file: Path) -> Interrupted | None:
    return Interrupted(int(file.read_text(encoding="ascii"))) if file.exists() else None


def nobody(*arguments: Any) -> Any:
    """Replace the first process's questions to the run: the backend asks in no other."""
    raise RuntimeError(f"the run is asked by a process that is not the first of its group: {arguments}")


class LauncherPipes:
    """The launcher, as the first process of a group sees it.

    Args:
        folder: where the named pipes lie.
    """

    def __init__(self, folder: Path) -> None:
        self._steps, self._controls = open_pipe(folder / STEPS), open_pipe(folder / CONTROLS)

    def ask(self, name: str, *arguments: Any) -> Any:
        """Have the launcher call a method of its `TrainRun`, and return the answer."""
        self._steps.send((name, *arguments))
        return self._controls.recv()


def open_pipe(file: Path) -> Connection[Any, Any]:
    """Open a named pipe for objects. It is opened for both directions, so that it does not wait for the other end."""
    return Connection(os.open(file, os.O_RDWR))


if __name__ == "__main__":
    sys.exit(main())
