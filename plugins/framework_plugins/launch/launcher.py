"""`launch=ddp|fsdp2`: everything but the training happens here, the training in a group of processes.

The model is unloaded while the group trains. The group's first process reports each step through a named pipe and
receives what to do, so loggers, health and early stopping stay where they are. torchrun's agent starts the processes of
this machine; if an outer torchrun has started this one, only the first process of that group is started here, and the
others are processes like this one, see `outer.py`.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from framework import FrameworkError, Plan, Stage
from framework.api import Data, Feature, Model, Report, TrainResult, write_atomically
from framework.api.program import Interrupted, load_record
from framework.api.program import (
    run_plan as run,
)
from framework.api.training import TokenGroup, TrainRun
from framework_plugins.launch.checks import SHARED
from framework_plugins.launch.config import GroupConfig
from framework_plugins.launch.ended import group_error
from framework_plugins.launch.helper import Helper, wait_or_kill
from framework_plugins.launch.meeting import Meeting, meeting, settings, versions
from framework_plugins.launch.node import on_one_machine, start_node
from framework_plugins.launch.outer import SAME_ROWS, follow, in_group, rows_of, take_variables
from framework_plugins.launch.pickled_plan import pickle_plan
from framework_plugins.launch.worker import CONTROLS, GROUP, JOB, RESULT, STEPS, STOP, Job, JobRows, open_pipe
from framework_plugins.lib.group_member import Member, NumberedRows, outer_member

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
"""Seconds between two looks at whether the group is still there."""
GRACE_SECONDS = 10
"""Seconds that the group has to end before it is killed."""


class GroupLauncher:
    """Runs here, and trains in a group of processes."""

    def __init__(self, config: GroupConfig) -> None:
        self.config = config
        self.processes = config.group().processes
        self.variables: dict[str, str] = {}
        self.meeting: Meeting | None = None
        self.helpers: list[Helper] = []

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan.

        Raises:
            FrameworkError: the run ended with a user's mistake, or a process was killed.
            RuntimeError: a process failed; the message is its traceback.
        """
        if me := outer_member():
            return self._in_outer_group(plan, me)
        if self.config.starts_nodes and plan.stages != (Stage.plan,):
            start_node(plan, self.config, "framework", plan.overrides)
            return None
        try:
            return run(plan, self.train, partial(self._share_answers, plan))
        finally:
            for helper in self.helpers:
                helper.close()

    def _share_answers(self, plan: Plan, model: Model) -> None:
        """Let the other GPUs answer a part of the prompts, outside the training."""
        if Feature.answers in model.features:
            self.helpers = [Helper(plan, gpu_index, self.processes) for gpu_index in range(1, self.processes)]
            model.helpers = self.helpers

    def _in_outer_group(self, plan: Plan, me: Member) -> Report | None:
        """Take the place that torchrun gives this process: the first runs, the others train with it."""
        self.variables, launch = take_variables(), f"launch={plan.launch.component.name}"
        plan = in_group(plan, me)
        if me.rank == 0:
            one_machine = self.variables.get("LOCAL_WORLD_SIZE") == str(me.world)
            log.warning(
                "%s: the ports by which these processes meet have no password, and whoever reaches them can run code: "
                "use a trusted network only%s", launch, f", or start {launch} without torchrun" if one_machine else "",
            )  # fmt: skip
        with meeting(me, self.variables, self.config.wait_seconds, launch) as self.meeting:
            self.meeting.compare("its versions", versions(), "install the same versions on all machines")
            self.meeting.compare("its settings", settings(plan), "start all processes with the same command")
            if me.rank == 0:
                return run(plan, self.train)
            self.meeting.gather("its settings", 0)
            if not plan.run_dir.is_dir():  # the first process holds it by now
                raise FrameworkError(
                    f"{plan.run_dir} is not on {socket.gethostname()}, where process {me.rank} runs: {SHARED}"
                )
            follow(plan, self.meeting, self.variables)
        return None

    def train(self, plan: Plan, model: Model, data: Data, run: TrainRun) -> TrainResult:
        """Train in the group, and put the trained weights into the model here."""
        assert data.store is not None  # noqa: S101 - every data stage writes one
        model.unload()
        for helper in self.helpers:
            helper.close()
        if self.meeting:
            self.meeting.compare("its rows", rows_of(model, data), SAME_ROWS)
        rows = _job_rows(data.train_groups), _job_rows(data.validation_groups)
        job = Job(pickle_plan(plan), data.store, *rows, run.checkpoint, run.scratch)
        # The one folder is where the run is, the other on a disk of this machine, which can lock files.
        with _job_folder(plan) as folder, tempfile.TemporaryDirectory(prefix="framework-group-") as local_folder:
            (folder / JOB).write_bytes(pickle.dumps(job))
            store = Path(local_folder, "workers")
            if self.meeting:
                task = {"checkpoint": str(run.checkpoint), "scratch": str(run.scratch)}
                self.variables |= self.meeting.start(task, store)
            else:
                self.variables |= on_one_machine(store)
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
                if process.returncode - 128 in Interrupted.SIGNALS:  # another machine got a signal
                    raise Interrupted(process.returncode - 128)
                if self.meeting and process.returncode > 0 and (failure := self.meeting.failure()):
                    raise FrameworkError(failure)
                raise group_error(plan, folder, process.returncode, of_agent=self.meeting is None)
            result = load_record(TrainResult, folder / RESULT)
        model.restore(run.checkpoint)
        return result

    @contextmanager
    def _started(self, plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
        """Start the agent, or the first process of an outer group; whatever happens, none that it started is left."""
        run_dir = str(plan.run_dir.absolute())
        words = ["worker", run_dir] if self.meeting else ["agent", run_dir, str(self.processes)]
        command = [sys.executable, "-P", "-m", f"framework_plugins.launch.{words[0]}", *words[1:]]
        # -P keeps the working folder out of the path, and the workers have to find plugins of one file.
        surroundings = {**os.environ, **self.variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # In a group of its own it gets no Ctrl-C from the terminal; the workers end when this pipe does.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=surroundings, process_group=0) as process:  # noqa: S603 - our own words
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    wait_or_kill(process, GRACE_SECONDS)


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
