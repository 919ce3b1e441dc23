"""`launch=ddp|fsdp2|deepspeed_zero3`: everything but the training happens here, the training in a group of processes.

The model is unloaded while the group trains. The group's first process reports each step over a local socket
and receives what to do, so loggers, health and early stopping stay where they are. The other machines of a group
check whether the run fits there, read the data from the cache or tokenize them, and take part in the training.
"""

from __future__ import annotations

import logging
import os
import pickle
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from framework.api.data import Data, NumberedRows
from framework.api.launching import (
    GROUP,
    JOB,
    SCRATCH,
    Job,
    check_distributed,
    check_fits,
    load_data,
    pickle_plan,
    planned,
    run,
)
from framework.api.plan import Plan
from framework.api.process_group import ProcessGroup
from framework.api.protocols import Backend, Model, SupportsDistributed, TrainRun
from framework.api.records import Report, Step, TokenRow, TrainResult
from framework.api.schema import Stage
from framework_plugins.launch import place
from framework_plugins.launch.agent import Asked
from framework_plugins.launch.config import GroupConfig
from framework_plugins.launch.ended import cause

log = logging.getLogger(__name__)

POLL = 0.1
"""Seconds between two looks at whether the group is still there."""
GRACE = 10
"""Seconds that the group has to end before it is killed."""


class GroupLauncher:
    """Runs here, and trains in a group of processes."""

    def __init__(self, config: GroupConfig) -> None:
        self.config = config
        self.group: ProcessGroup = config.group()
        self.rank = place.rank(config)

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan; on other machines than the first only look at it and train.

        Raises:
            FrameworkError: the run ended with a user's mistake, or a process was killed.
            RuntimeError: a process failed; the message is its traceback.
        """
        if plan.stages != (Stage.plan,):  # a job may be planned before Slurm starts it
            place.check(self.config)
        if self.rank == 0:
            if Stage.train in plan.stages:
                place.check_port(self.config)
            return run(plan, self.train)
        plan, _, expected = planned(plan)
        check_fits(plan, expected)
        if Stage.train not in plan.stages:
            stages = ",".join(stage.value for stage in plan.stages)
            log.warning("launch.rank=%d: stages=[%s] is what the first machine does", self.rank, stages)
            return None
        backend: Backend = plan.trainer.create()
        with backend.open(plan) as model:
            check_distributed(plan, model)
            data = load_data(plan, model)
            self._take_part(plan, model, data, TrainRun(plan.checkpoint, _scratch(plan), _nothing))
        return None

    def train(self, plan: Plan, model: Model, data: Data, run: TrainRun) -> TrainResult:
        """Train in the group, and put the trained weights into the model here."""
        result = self._take_part(plan, model, data, run)
        if result is None:
            message = f"launch={plan.launch.component.name}: the group ended without a result"
            raise RuntimeError(message)
        model.restore(run.checkpoint)
        return result

    def _take_part(self, plan: Plan, model: Model, data: Data, run: TrainRun) -> TrainResult | None:
        """Start this machine's processes and serve the first of them until all are gone."""
        assert isinstance(model, SupportsDistributed)  # noqa: S101 - as the pipeline made sure
        assert data.store is not None  # noqa: S101 - every data stage writes one
        model.unload()
        with self._folder(plan) as (folder, leave), _StepListener(here=self.rank == 0) as ear:
            numbers = _numbers(data.train), _numbers(data.validation)
            job = Job(pickle_plan(plan), data.store, *numbers, run.checkpoint, run.scratch, ear.address, ear.secret)
            (folder / GROUP / JOB).write_bytes(pickle.dumps(job))
            with self._started(plan, folder, leave) as process:
                result = ear.serve(process, run)
                code = process.wait()
            if code:
                raise cause(plan, folder / GROUP, code)
        return result

    @contextmanager
    def _folder(self, plan: Plan) -> Iterator[tuple[Path, Path]]:
        """Give the folder of the run, with one in it for the job, and what is removed of them at the end.

        Machines other than the first write nothing into a run's folder; an empty one stands for it there. Nobody else
        may read the job: settings may hold secrets.
        """
        folder = plan.run_dir.absolute() if self.rank == 0 else Path(tempfile.mkdtemp(prefix="framework-"))
        leave = folder / GROUP if self.rank == 0 else folder
        try:
            shutil.rmtree(folder / GROUP, ignore_errors=True)  # of a run that was killed with its agent
            (folder / GROUP).mkdir(mode=0o700)
            yield folder, leave
        finally:
            shutil.rmtree(leave, ignore_errors=True)

    @contextmanager
    def _started(self, plan: Plan, folder: Path, leave: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start the agent; whatever happens, no process of the group is left."""
        host, port = place.host(self.config), self.config.main_port
        if self.group.machines > 1:
            told = plan.launch.component.name, self.group.machines, host, port, self.rank
            log.warning("launch=%s: waiting for %d machines at %s:%d; this is machine %d", *told)
        asked = Asked(str(folder), str(leave), self.group.machines, self.group.processes, self.rank, host, port)
        command = [sys.executable, "-P", "-m", "framework_plugins.launch.agent", asked.text]
        paths = os.pathsep.join(filter(None, sys.path))
        # What lies in the folder where the run was started is not imported by a worker, which accelerate starts by -m.
        surroundings = {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}
        # In a group of its own it gets no Ctrl-C from the terminal; the workers end when this pipe does.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=surroundings, process_group=0) as process:  # noqa: S603 - our own words
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    _wait(process)


def _numbers(rows: Sequence[TokenRow]) -> NDArray[np.int64]:
    """Return which rows of the store these are."""
    assert isinstance(rows, NumberedRows)  # noqa: S101 - a data stage gives no others
    return rows.numbers


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def _scratch(plan: Plan) -> Path:
    return plan.run_dir / SCRATCH


def _nothing(step: Step) -> None:
    """Replace the first machine's handling of steps."""


class _StepListener:
    """Listens to the first process of the group.

    Args:
        here: whether it is on this machine.
    """

    def __init__(self, *, here: bool) -> None:
        self.secret = secrets.token_bytes(32)
        self.listener = Listener(("127.0.0.1", 0), authkey=self.secret) if here else None
        self.over = False
        self.heard: Queue[tuple[Connection[Any, Any], Any]] = Queue()

    @property
    def address(self) -> tuple[str, int] | None:
        """Where it listens."""
        found: Any = self.listener.address if self.listener else None
        return found  # type: ignore[no-any-return] # that of a socket

    def __enter__(self) -> Self:
        if self.listener:
            threading.Thread(target=self._listen, args=(self.listener,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; one who still waits for a caller is called, since he would not notice."""
        self.over = True
        if self.listener:
            with suppress(OSError), socket.create_connection(self.listener.address):
                pass
            self.listener.close()

    def _listen(self, listener: Listener) -> None:
        while not self.over:
            try:
                with listener.accept() as connection:
                    while True:
                        self.heard.put((connection, connection.recv()))
            except (OSError, EOFError, AuthenticationError):  # the group is gone, or it was somebody else
                continue

    def serve(self, process: subprocess.Popen[bytes], run: TrainRun) -> TrainResult | None:
        """Answer until the group is gone; return the result that it told."""
        result = None
        while True:
            try:
                connection, told = self.heard.get(timeout=POLL)
            except Empty:
                if process.poll() is not None and self.heard.empty():
                    return result
                continue
            if isinstance(told, TrainResult):
                result = told
                _answer(connection, None)
            else:
                _answer(connection, run.on_step(told))


def _answer(connection: Connection[Any, Any], order: Any) -> None:
    try:
        connection.send(order)
    except OSError:  # it died since; the agent says of what
        return
