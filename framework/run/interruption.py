"""Signals that ask a run to end: SIGTERM, SIGINT, SIGUSR1, SIGHUP and SIGXCPU.

Slurm can be asked to send SIGUSR1 as a warning, SIGHUP comes when a terminal is closed, and SIGXCPU when a limit of
processor time is reached. SIGQUIT ends the process at once, as everywhere.

A run ends where it can continue later. During the steps of a training that is after the optimizer step, with a
checkpoint: the backend asks by `TrainRun.interruption`. Everywhere else the work is stopped by an exception, which
removes what is half written. Where the grace time runs out before that, or at a second SIGINT, the process ends at
once, and what was saved before is kept.

A process that a reward or a tool forks is not the run: it has the handlers that were there before, and never gets to
the files of the run.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from framework.api.run_folder import FINISHED, OVERRIDES, RunFolder
from framework.api.schema import Stage
from framework.rundir.status import note_failure
from framework.util import lock
from framework.util.command import this_program
from framework.util.errors import Interrupted, display_run, error_traceback

DEFAULT_HANDLERS = (signal.SIG_DFL, signal.default_int_handler)
"""Handlers that are replaced. Whoever set another one, submitit for example, continues to get the signal; and a signal
that is ignored, as nohup has SIGHUP ignored, stays ignored."""
SCONTROL_SECONDS = 10
STANDARD_OUTPUT, STANDARD_ERROR = 1, 2
HANGUP = getattr(signal, "SIGHUP", None)


class Handlers:
    """The handlers of signals that a process has replaced. A child that it forks has those of before."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def replace(self, signum: int, handler: Callable[[int, FrameType | None], None]) -> None:
        """Set the handler of a signal."""
        self._before[signum] = signal.signal(signum, handler)

    def restore(self, signum: int) -> None:
        """Set the handler of before, unless this is a child, which has it."""
        if signum in self._before:
            signal.signal(signum, self._before.pop(signum))

    def block(self) -> None:
        """Let signals wait during a fork: one that comes before the child has its handlers would be lost."""
        if self._before:
            signal.pthread_sigmask(signal.SIG_BLOCK, self._before)

    def unblock(self) -> None:
        """Let them come again."""
        if self._before:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._before)

    def restore_in_child(self) -> None:
        """Set all handlers of before, in a child."""
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self.unblock()
        self._before.clear()


HANDLERS = Handlers()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=HANDLERS.block, after_in_parent=HANDLERS.unblock, after_in_child=HANDLERS.restore_in_child
    )


@contextmanager
def handle_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have a function called for the signals that ask a run to end, but for those that somebody else handles.

    A child that this process forks has the handlers of before: otherwise no signal would stop it.
    """
    replaced_signals = list[signal.Signals]()
    if threading.current_thread() is threading.main_thread():  # Python lets no other thread set them
        for signum in Interrupted.SIGNALS:
            if signal.getsignal(signum) in DEFAULT_HANDLERS:
                HANDLERS.replace(signum, handler)
                replaced_signals.append(signum)
    try:
        yield
    finally:
        for signum in replaced_signals:
            HANDLERS.restore(signum)


@contextmanager
def ending_children() -> Iterator[None]:
    """End a forked child that leaves the code of a plugin, by `sys.exit` or an exception: the rest is for the run.

    Only `os.fork` lets it come so far; `multiprocessing` ends its children itself.
    """
    process = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != process:
            _end_child(error)
        raise
    if os.getpid() != process:
        _end_child(None)


def _end_child(error: BaseException | None) -> None:
    if isinstance(error, Exception):
        _print(error_traceback(error))
    os._exit(1 if error else 0)


class Interruption:
    """Whether a signal has asked a run to end. As a context manager it takes the signals.

    Args:
        run_dir: the folder of the run.
        resumed: the folder that `resume` continues: that of the run, or of its sweep.
        grace_seconds: how long a run may take to end.
    """

    def __init__(self, run_dir: Path, resumed: Path, grace_seconds: float) -> None:
        self._run_dir = run_dir
        self._resumed = resumed
        self._grace_seconds = grace_seconds
        self._handlers = handle_signals(self._handle)
        self._error: Interrupted | None = None
        self._is_asked = False
        self._training_knows = False
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        self._handlers.__enter__()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._handlers.__exit__(None, None, None)
        if isinstance(error, Interrupted):
            self._say_goodbye(error)

    def _handle(self, signum: int, _frame: FrameType | None) -> None:
        """Note a signal; stop the work here, unless the training asks."""
        if signum == HANGUP:
            _leave_terminal()
        if self._error is not None:
            if signum == signal.SIGINT:
                self._end_at_once(self._error)
            return
        self._error = Interrupted(signum)
        self._timer = threading.Timer(self._grace_seconds, self._give_up, [self._error])
        # Or a run that ends in time would wait for it.
        self._timer.daemon = True
        self._timer.start()
        if not self._is_asked:
            raise self._error
        again = "; Ctrl-C again ends the run at once" if signum == signal.SIGINT else ""
        _print(f"\nending after this step, within {self._grace_seconds:g} s{again}\n")

    def asked(self) -> Interrupted | None:
        """Return what a training has to raise when it has saved its state; None if it continues.

        Whoever asks once is expected to ask after each step: until the end of `training`, nothing is raised elsewhere.
        """
        self._is_asked = True
        self._training_knows = self._error is not None
        return self._error

    @contextmanager
    def training(self) -> Iterator[None]:
        """Let the training ask. A signal that came too late for it ends the run here, with its result saved."""
        try:
            yield
        finally:
            self._is_asked = False
        if self._error:
            raise self._error

    def _give_up(self, error: Interrupted) -> None:
        """End this process after the grace time: a library may be busy, or wait for a server that does not answer."""
        _print(f"\nthe run did not stop within grace_seconds={self._grace_seconds:g}\n")
        self._end_at_once(error)

    def _end_at_once(self, error: Interrupted) -> None:
        try:
            note_failure(self._run_dir, error)
            self._say_goodbye(error)
            # `os._exit` runs no `finally`, which would have removed it.
            (self._run_dir / lock.NAME).unlink(missing_ok=True)
        finally:
            # A library may never return to Python, and from the timer's thread `sys.exit` would end only that.
            os._exit(error.code)

    def _say_goodbye(self, error: Interrupted) -> None:
        """Print how the run continues, and have Slurm do that if it was Slurm that ended it."""
        if not (self._run_dir / OVERRIDES).exists():
            text = f"{error}: nothing had begun"
        elif RunFolder(self._run_dir).status().get("state") == FINISHED:
            text = f"{error}. The run itself is finished; export again with: {export_command(self._run_dir)}"
        else:
            note = f" Kept: {', '.join(stages)}." if (stages := self._completed()) else ""
            text = f"{error}.{note} Continue with: {resume_command(self._resumed)}"
            if error.number != signal.SIGINT and (job := requeue()):
                text += f"\nSlurm has put job {job} back into the queue"
        print(text, file=sys.stderr, flush=True)

    def _completed(self) -> list[str]:
        """Name what is not repeated; a training that took the signal itself has saved a checkpoint."""
        folder, training = self._run_dir, Stage.train.value
        stages = [name for name in RunFolder(folder).status().get("seconds", {}) if name != Stage.plan.value]
        if training in stages:
            return stages
        if self._training_knows:
            return [*stages, f"{training} up to this step"]
        saved = any(".part" not in state.name for state in folder.glob(f"{RunFolder.TRAINING_STATE}/*"))
        return [*stages, f"{training} up to its last checkpoint"] if saved else stages


def _leave_terminal() -> None:
    """Drop what is printed from now on if the terminal is gone: each write would fail, and end the run half-way."""
    for output in (STANDARD_OUTPUT, STANDARD_ERROR):
        # A device that is not a terminal any more.
        if stat.S_ISCHR(os.fstat(output).st_mode) and not os.isatty(output):
            os.dup2(os.open(os.devnull, os.O_WRONLY), output)


def _print(text: str) -> None:
    """Write to standard error from a handler of signals, which may have interrupted a `print`."""
    with suppress(OSError):
        os.write(STANDARD_ERROR, text.encode())


def requeue() -> str:
    """Put the Slurm job of this process back into the queue, if it is one that may be; return its number.

    A job that was canceled, or is not to be requeued, is left alone; so is an interactive one. torchrun sends its
    processes SIGTERM if one of them fails, which would fail again after each requeue.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return ""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", "")
    shown = _scontrol("show", "job", "--oneliner", job) if job else None
    facts = dict(word.split("=", 1) for word in (shown or "").split() if "=" in word)
    # A canceled job is no longer RUNNING, and an interactive one has no batch script to run again.
    may = facts.get("JobState") == "RUNNING" and facts.get("Requeue") == "1" and facts.get("BatchFlag") == "1"
    return job if may and _scontrol("requeue", job) is not None else ""


def _scontrol(*words: str) -> str | None:
    """Return what scontrol prints; None if it fails."""
    try:
        process = subprocess.run(  # noqa: S603 - fixed words, and a number from Slurm
            ["scontrol", *words],  # noqa: S607 - wherever Slurm is installed
            capture_output=True,
            text=True,
            timeout=SCONTROL_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout


def export_command(run_dir: Path) -> str:
    """Return the command that makes the exports of a run again."""
    return f"{this_program()} stages=[export] run_dir={shlex.quote(display_run(run_dir))}"


def resume_command(folder: Path) -> str:
    """Return the command that continues with a run or a sweep."""
    return f"{this_program()} resume {shlex.quote(display_run(folder))}"
