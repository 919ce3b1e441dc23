"""`launch=ddp|fsdp2`: everything but the training happens here, the training in a group of processes.

The model is unloaded while the group trains. The group's first process reports each step through a named pipe and
receives what to do, so loggers, health and early stopping stay where they are.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan
from framework.api import Data, Model, Report, TrainResult, write_atomically
from framework.api.program import load_record, pickle_plan
from framework.api.program import (
    run_plan as run,
)
from framework.api.training import NumberedRows, SupportsDistributed, TokenGroup, TrainRun
from framework_plugins.launch.config import GroupConfig
from framework_plugins.launch.ended import group_error
from framework_plugins.launch.worker import CONTROLS, GROUP, JOB, RESULT, STEPS, STOP, Job, JobRows, open_pipe

POLL_SECONDS = 0.1
"""Seconds between two looks at whether the group is still there."""
GRACE_SECONDS = 10
"""Seconds that the group has to end before it is killed."""


class GroupLauncher:
    """Runs here, and trains in a group of processes."""

    def __init__(self, config: GroupConfig) -> None:
        self.processes = config.group().processes

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan.

        Raises:
            FrameworkError: the run ended with a user's mistake, or a process was killed.
            RuntimeError: a process failed; the message is its traceback.
        """
        return run(plan, self.train)

    def train(self, plan: Plan, model: Model, data: Data, run: TrainRun) -> TrainResult:
        """Train in the group, and put the trained weights into the model here."""
        assert isinstance(model, SupportsDistributed)  # noqa: S101 - as the pipeline made sure
        assert data.store is not None  # noqa: S101 - every data stage writes one
        model.unload()
        rows = _job_rows(data.train_groups), _job_rows(data.validation_groups)
        job = Job(pickle_plan(plan), data.store, *rows, run.checkpoint, run.scratch)
        with _job_folder(plan) as folder:
            (folder / JOB).write_bytes(pickle.dumps(job))
            with _pipe(folder / STEPS) as steps, _pipe(folder / CONTROLS) as controls, self._started(plan) as process:
                # Steps may still be in the pipe when the process has ended.
                while process.poll() is None or steps.poll():
                    if (ending := run.interruption()) and not (folder / STOP).exists():
                        # A file, since only the first process reads the pipe, and all have to stop after the same step.
                        write_atomically(folder / STOP, str(getattr(ending, "number", signal.SIGINT.value)))
                    if steps.poll(POLL_SECONDS):
                        name, *arguments = steps.recv()
                        controls.send(getattr(run, name)(*arguments))
            if process.returncode:
                if ending := run.interruption():
                    raise ending
                raise group_error(plan, folder, process.returncode)
            result = load_record(TrainResult, folder / RESULT)
        model.restore(run.checkpoint)
        return result

    @contextmanager
    def _started(self, plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
        """Start the agent; whatever happens, no process of the group is left."""
        run_dir = str(plan.run_dir.absolute())
        command = [sys.executable, "-P", "-m", "framework_plugins.launch.agent", run_dir, str(self.processes)]
        # -P keeps the working folder out of the path, and the workers have to find plugins of one file.
        surroundings = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # In a group of its own it gets no Ctrl-C from the terminal; the workers end when this pipe does.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=surroundings, process_group=0) as process:  # noqa: S603 - our own words
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    _wait(process)


@contextmanager
def _job_folder(plan: Plan) -> Iterator[Path]:
    """Make the folder of the job, and remove it at the end. Nobody else may read it: settings may hold secrets."""
    folder = plan.run_dir / GROUP
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed with its agent
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _pipe(file: Path) -> Iterator[Connection[Any, Any]]:
    try:
        # Named, since torchrun closes the file descriptors that its processes would inherit (decision 0023).
        os.mkfifo(file)
    except OSError as error:  # Windows drives below WSL, some network disks and mounted buckets
        raise FrameworkError(
            f"{file.parent}: the file system has no named pipes ({error.strerror}): set run_dir to a local disk"
        ) from error
    with open_pipe(file) as opened:
        yield opened


def _job_rows(rows: Sequence[TokenGroup]) -> JobRows:
    """Return which rows of the store these are, or a table of blocks; rows that are not stored as they are."""
    return rows.numbers if isinstance(rows, NumberedRows) else [*rows]


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
