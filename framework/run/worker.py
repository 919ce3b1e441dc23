"""One process of a group that trains: `accelerate launch -m framework.run.worker RUN_DIR`.

Not for users. A launcher saves the plan in the run's folder, and what else the job takes, and has accelerate start as
many of these as it was asked for; each opens the model with the run's own backend and trains it together with the
others. The first of them tells the launcher each step and hears from it what to do; it alone writes. What a process
dies of it leaves beside the job.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Client
from pathlib import Path
from typing import TYPE_CHECKING

from framework.api.process_group import PLACE, WORKER, Member, member
from framework.api.protocols import Backend, TrainRun
from framework.api.records import Step, StepControl, TrainResult
from framework.run.plan_transfer import PickledPlan, end_with
from framework.util.errors import USER_MISTAKE, FrameworkError
from framework.util.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GROUP = ".group.part"
"""The folder of a group's job in that of the run; it is removed with the group."""
JOB = "job.pickle"
ENDED = "ended-{}.json"
ALONE = (
    "framework.run.worker takes part in the training of a run: "
    "python -m framework … launch=ddp launch.processes=N starts N of them by accelerate launch"
)


@dataclass(frozen=True)
class Job:
    """What a group has to do.

    Attributes:
        packed: the plan.
        store: where the tokenized rows lie.
        train: the numbers of the rows to train on.
        validation: those of the rows to validate on.
        checkpoint: where the weights are saved.
        scratch: a folder for what is only needed meanwhile.
        address: where the launcher listens to the first process; None on other machines than the first.
        secret: what the first process shows there.
    """

    packed: PickledPlan
    store: Path
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    checkpoint: Path
    scratch: Path
    address: tuple[str, int] | None
    secret: bytes


@dataclass(frozen=True)
class Ended:
    """What a process died of: `text` is an error's own, or a traceback where no user can fix it."""

    rank: int
    time: float
    mistake: bool
    text: str


def main() -> int:
    """Do the job."""
    folder = Path(*sys.argv[1:]) / GROUP
    os.environ[WORKER] = "1"
    me = member() if set(PLACE) <= set(os.environ) else None
    if me is None or not (folder / JOB).exists():
        print(ALONE, file=sys.stderr)
        return USER_MISTAKE
    # The pipe that ends with the launcher is everybody's standard input.
    threading.Thread(target=end_with, args=(sys.stdin.fileno(), signal.SIGKILL), daemon=True).start()
    try:
        job: Job = pickle.loads((folder / JOB).read_bytes())  # noqa: S301 - our own launcher wrote it
        _train(job, me)
    except FrameworkError as error:
        _note(folder, Ended(me.rank, time.time(), mistake=True, text=str(error)))
        return USER_MISTAKE
    except BaseException:  # noqa: BLE001 - whatever it is, the launcher tells it
        _note(folder, Ended(me.rank, time.time(), mistake=False, text=traceback.format_exc()))
        return 1
    return 0


def _note(folder: Path, ended: Ended) -> None:
    write_atomically(folder / ENDED.format(ended.rank), json.dumps(vars(ended)))


def _train(job: Job, me: Member) -> None:
    plan = job.packed.load()
    from framework.data.lengths import token_rows  # noqa: PLC0415 - after the plugins, of which one may want to be first
    from framework.data.store import Store  # noqa: PLC0415 - as above

    driver = LauncherConnection(job) if me.rank == 0 and job.address else None
    backend: Backend = plan.trainer.create()
    with backend.open(plan) as model:
        store, limit = Store(job.store), plan.training.max_seq_length
        rows, held_out = (token_rows(store, numbers, limit) for numbers in (job.train, job.validation))
        result = model.train(rows, held_out, TrainRun(job.checkpoint, job.scratch, driver.step if driver else _nobody))
        if driver:
            driver.tell(result)


def _nobody(step: Step) -> StepControl:
    """Replace the first process's handling of a step: the backend calls nobody else."""
    message = f"step {step.step} comes from a process that is not the first of its group"
    raise RuntimeError(message)


class LauncherConnection:
    """The launcher, as the first process of a group sees it."""

    def __init__(self, job: Job) -> None:
        assert job.address is not None  # noqa: S101 - of the first machine
        self.connection = Client(job.address, authkey=job.secret)

    def step(self, step: Step) -> StepControl | None:
        """Send a step, and return what is to be done."""
        self.connection.send(step)
        control: StepControl | None = self.connection.recv()
        return control

    def tell(self, result: TrainResult) -> None:
        """Send the result of the training, and wait for the acknowledgement."""
        self.connection.send(result)
        self.connection.recv()


if __name__ == "__main__":
    sys.exit(main())
