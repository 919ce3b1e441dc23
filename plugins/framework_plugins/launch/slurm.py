"""`launch.on=slurm`: submits a run to Slurm by submitit, as a job of its plan.

The job is the plan as it was checked, not its words: files that change while the job waits do not change it. When Slurm
warns the job of its end, the run saves a checkpoint, and submitit puts the job back into the queue.
"""

from __future__ import annotations

import dataclasses
import io
import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, suppress
from pathlib import Path
from typing import Any

import psutil

from framework import FrameworkError, Plan
from framework.api import display_path, display_run, pip_command, visible
from framework.api.program import Interrupted, this_program
from framework_plugins.launch.config import PlacedConfig, SlurmConfig, gpus, nodes
from framework_plugins.launch.job import Work, started, work_of

FOLDER = Path("outputs", "slurm")
"""What submitit writes, in a folder of each job: the job itself, which may hold secrets, and the output."""
EXTRA = "framework-finetune[submitit]"
MARGIN_SECONDS = 60
"""Seconds beside `grace_seconds` in which submitit puts a job back into the queue."""
SUBMITTER_SECONDS = 60.0
"""Seconds for which a job waits until the process that submitted it lets go of the run folder."""
SUBMIT_SECONDS = 60.0
"""Seconds in which sbatch has to answer."""
COLUMNS = 2
"""The words in a line of sinfo: a partition, and its time limit."""
POLL_SECONDS = 0.2
LOG_LEVEL = "SUBMITIT_LOG_LEVEL"
PORT, PORTS = 29400, 3000
"""Where several nodes meet: the first port, and over how many jobs are spread, which may share a node."""


def submit(plan: Plan, config: PlacedConfig) -> Iterator[str]:
    """Submit a plan, and give lines about its job.

    Raises:
        FrameworkError: submitit or Slurm is not here, or Slurm refuses the job.
    """
    try:
        submitit = _library()
    except ImportError as error:
        raise FrameworkError(f"launch.on=slurm needs submitit\nInstall it: {pip_command([EXTRA])}") from error
    if plan.sweep:
        raise FrameworkError(
            "launch.on=slurm submits one run\nFor the trials of a sweep as jobs, set hydra/launcher=submitit_slurm"
        )
    if absent := [command for command in ("srun", "sbatch") if not shutil.which(command)]:
        raise FrameworkError(
            f"launch.on=slurm needs Slurm, whose command {absent[0]} is not on this machine\n"
            "Submit on a login node of the cluster, or leave launch.on out"
        )
    slurm = config.slurm
    warned = round(plan.settings.grace_seconds) + MARGIN_SECONDS
    _check_minutes(slurm, warned)
    settings: dict[str, Any] = {
        "job_name": plan.name, "partition": slurm.partition, "account": slurm.account, "qos": slurm.qos,
        "time": slurm.minutes, "nodes": nodes(config), "ntasks_per_node": 1,
        "gpus_per_node": gpus(plan, config, slurm.gpus) or None, "cpus_per_task": slurm.cpus,
        "mem": f"{slurm.memory_gb}GB" if slurm.memory_gb else None,
        "signal_delay_s": warned,
        # Clusters may have JobRequeue=0, with which a job that is warned or loses a node would just end.
        "additional_parameters": {"requeue": True, **dict(map(_option, slurm.more))},
    }  # fmt: skip
    try:
        with _job_folder() as folder:
            executor = submitit.SlurmExecutor(folder, max_num_timeout=slurm.requeues)
            executor.update_parameters(**{name: value for name, value in settings.items() if value is not None})
            job = _submit(executor, Job(work_of(plan), str(plan.run_dir), nodes(config)))
    except submitit.core.utils.FailedJobError as error:
        raise FrameworkError(_refusal(str(error))) from error
    except submitit.core.utils.FailedSubmissionError as error:
        raise FrameworkError(_unread(str(error))) from error
    output = display_path(folder / f"{job.job_id}_0_log.out")
    node_outputs = f"of the other nodes {job.job_id}_1_log.out …, " if nodes(config) > 1 else ""
    yield f"Slurm job {job.job_id}: {state(job.job_id)}"
    yield f"  folder   {display_run(plan.run_dir)}"
    yield f"  output   {output}, {node_outputs}and errors beside it"
    yield f"  state    squeue --jobs={job.job_id}; {this_program()} runs"
    yield f"  cancel   scancel {job.job_id}"


@contextmanager
def _job_folder() -> Iterator[Path]:
    """Make a folder for a job, and remove it and what is above it if the job is not submitted.

    submitit writes the job before it asks Slurm, under random names, and leaves it there if Slurm refuses it.
    """
    above = [folder for folder in (FOLDER.absolute(), FOLDER.absolute().parent) if not folder.exists()]
    FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="", dir=FOLDER.absolute()))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another command has begun to use it
            for empty in above:
                empty.rmdir()
        raise


def _submit(executor: Any, job: Job) -> Any:
    """Submit a job, and return what submitit knows of it.

    Raises:
        FrameworkError: sbatch does not answer, as when it waits for a controller that is down.
        FailedJobError: Slurm refuses the job.
    """
    children = {*psutil.Process().children()}
    # submitit prints what sbatch says, secrets too; the error has it.
    with ThreadPoolExecutor(1) as pool, redirect_stderr(io.StringIO()):
        submission = pool.submit(executor.submit, job)
        try:
            return submission.result(SUBMIT_SECONDS)
        except TimeoutError:
            for child in {*psutil.Process().children()} - children:  # sbatch; its end is that of the thread, too
                child.kill()
            raise FrameworkError(
                f"sbatch has not answered for {SUBMIT_SECONDS:g} s: `squeue --me` shows whether it has taken the job. "
                "Start again when `sinfo` answers"
            ) from None


def _library() -> Any:
    """Import submitit without its setup of the logging of all libraries, which closes the handlers of others."""
    before = os.environ.get(LOG_LEVEL)
    os.environ[LOG_LEVEL] = "NOCONFIG"
    try:
        import submitit  # noqa: PLC0415 - an extra
    finally:
        if before is None:
            del os.environ[LOG_LEVEL]
        else:
            os.environ[LOG_LEVEL] = before
    return submitit


def state(job: str) -> str:
    """Return the state of a job, and why it waits: `PENDING (Resources)`."""
    return _query("squeue", f"--jobs={job}", "--format=%T (%r)").strip().removesuffix(" (None)") or (
        "submitted; squeue does not list it"
    )


def _query(program: str, *words: str) -> str:
    """Return what a program of Slurm prints; nothing if it fails."""
    command = [program, "--noheader", *words]
    try:
        result = subprocess.run(command, capture_output=True, timeout=10, check=True)  # noqa: S603 - our own words
    except (OSError, subprocess.SubprocessError):
        return ""
    return visible(result.stdout.decode(errors="replace"), "\n")


def _check_minutes(slurm: SlurmConfig, warned: int) -> None:
    """Refuse a time limit in which nothing is trained, or for which Slurm keeps the job waiting, as it does by default.

    Raises:
        FrameworkError: it is such a limit.
    """
    if slurm.minutes * 60 <= warned:
        raise FrameworkError(
            f"launch.slurm.minutes={slurm.minutes}: Slurm would warn the job {warned} seconds before that, which are "
            f"grace_seconds and {MARGIN_SECONDS} more. Set launch.slurm.minutes={warned // 60 + 2} or more"
        )
    if slurm.qos:  # which may have limits of its own
        return
    chosen = [f"--partition={slurm.partition}"] if slurm.partition else []
    rows = [line.split() for line in _query("sinfo", *chosen, "--format=%P %l").splitlines()]
    limits = [_minutes(row[1]) for row in rows if len(row) == COLUMNS and (slurm.partition or row[0].endswith("*"))]
    if limits and slurm.minutes > (limit := max(limits)):
        partition = f"the partition {slurm.partition}" if slurm.partition else "the default partition"
        raise FrameworkError(
            f"launch.slurm.minutes={slurm.minutes}: {partition} allows {limit:g} minutes, and Slurm would keep the job "
            f"waiting\nSet launch.slurm.minutes={int(limit)}, or another launch.slurm.partition; `sinfo` lists them"
        )


def _minutes(limit: str) -> float:
    """Return the minutes of a time limit: `2-00:00:00`, `30:00`, `infinite`."""
    days, _, clock = limit.rpartition("-")
    numbers = clock.split(":")
    if not all(map(str.isdecimal, [*numbers, days or "0"])):
        return math.inf
    hours, minutes, seconds = map(int, [*("0" for _ in range(3 - len(numbers))), *numbers])
    return (int(days or 0) * 24 + hours) * 60 + minutes + seconds / 60


def _option(text: str) -> tuple[str, str | bool]:
    """Return an option of sbatch and its value; True if it has none."""
    name, has_value, value = text.removeprefix("--").partition("=")
    return name, value if has_value else True


def _refusal(text: str) -> str:
    """Return what sbatch says about a job that it does not take, with what to do."""
    reasons = re.findall(r"^sbatch: (?:error: )?(.+)", text, re.MULTILINE)
    reason = next((line for line in reasons if "Batch job submission failed" not in line), "".join(reasons[:1]) or text)
    reason = reason.strip() or "sbatch gives no reason"
    return f"Slurm refuses the job: {reason}\n`sinfo` lists the partitions and their limits: change launch.slurm"


def _unread(text: str) -> str:
    """Return that sbatch names no job in what it answers, with what to do."""
    answer = re.search('sbatch output "(.*)"', text, re.DOTALL)
    return (
        f"sbatch answers {visible(answer[1] if answer else text).strip()!r}, which names no job: `squeue --me` shows "
        "whether it has taken the job, which cannot run: cancel it, and ask your administrator about sbatch"
    )


@dataclasses.dataclass
class Job:
    """The job of each node; submitit calls it there.

    Attributes:
        work: the plan.
        run_dir: its run folder.
        nodes: how many there are.
    """

    work: Work
    run_dir: str
    nodes: int
    _process: subprocess.Popen[bytes] | None = dataclasses.field(default=None, init=False, repr=False)

    def __call__(self) -> None:
        """Run the plan in a process of its own, which this one tells that the job ends.

        Raises:
            RuntimeError: the run failed. Slurm ends the other nodes as well, so that of several that are warned only
                the first may: it puts the job back into the queue.
        """
        self._wait_for_submitter()
        with started(self.work, *self._meeting()) as process:
            self._process = process
            signal.signal(signal.SIGTERM, lambda signum, _: process.send_signal(signum))  # the job is canceled
            while process.poll() is None:  # `wait` would hold a lock that `checkpoint` needs
                time.sleep(POLL_SECONDS)
        code = process.returncode
        if code and not (code - 128 in Interrupted.SIGNALS and _library().JobEnvironment().global_rank):
            raise RuntimeError(f"the run ended with exit code {code}: its output says why")

    def checkpoint(self, *_: Any, **__: Any) -> Any:
        """Have the run save a checkpoint and end; submitit calls this when Slurm warns the job of its end."""
        if self._process:
            self._process.send_signal(signal.SIGINT)  # the one for which a run does not call Slurm itself
            while os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                time.sleep(POLL_SECONDS)
        return _library().helpers.DelayedSubmission(Job(self.work, self.run_dir, self.nodes))

    def _wait_for_submitter(self) -> None:
        """Wait for the command that submitted this job: it holds the folder of the run for a moment."""
        if "SLURM_RESTART_COUNT" in os.environ:  # a node that was lost may have left the file
            return
        end = time.monotonic() + SUBMITTER_SECONDS
        while Path(self.run_dir, ".lock").exists() and time.monotonic() < end:
            time.sleep(POLL_SECONDS)

    def _meeting(self) -> list[str]:
        """Return where the nodes of the job meet."""
        if self.nodes == 1:
            return []
        job = _library().JobEnvironment()
        return ["--rendezvous", f"{job.hostnames[0]}:{PORT + int(job.raw_job_id) % PORTS}"]
