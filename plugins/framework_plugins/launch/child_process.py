"""`launch=subprocess`: the run happens in a process of its own, which gives all its memory back when it ends.

The plan goes there as it is, so nothing is composed twice. What this process registered by hand goes along as far as
it can be imported there; hooks that were registered by hand are not called there.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from framework import FrameworkError, Plan, Stage
from framework.api import PrunedError, Report
from framework.api.program import DoesNotFitError, Interrupted, handle_signals, load_record, note_failure, signal_name
from framework_plugins.launch.child import DOES_NOT_FIT, INTERRUPTED, PRUNED, USER_MISTAKE
from framework_plugins.launch.config import SubprocessConfig
from framework_plugins.launch.pickled_plan import pickle_plan

ERRORS_BY_EXIT_CODE = {DOES_NOT_FIT: DoesNotFitError, PRUNED: PrunedError}
"""Errors that are more than a user's mistake, by the exit code of the child."""


class ChildProcess:
    """Runs in a child process."""

    def __init__(self, config: SubprocessConfig) -> None:
        self.config = config

    def launch(self, plan: Plan) -> Report | None:
        """Run the plan there, wait for its end, and read its report.

        Raises:
            FrameworkError: the run ended with a user's mistake, or was killed.
            RuntimeError: the run failed; its traceback has been printed.
        """
        job = pickle.dumps(pickle_plan(plan))
        with tempfile.TemporaryDirectory() as folder:
            error_file = Path(folder, "error.txt")
            code, interrupted = _run(job, error_file)
            error = error_file.read_text(encoding="utf-8") if error_file.exists() else ""
        # It died of the signal before its handler was set.
        if code == -signal.SIGINT:
            code = INTERRUPTED
        if not interrupted and code - 128 in Interrupted.SIGNALS:  # it got the signal itself
            interrupted = code - 128
        if interrupted:
            raise Interrupted(interrupted)
        if code == USER_MISTAKE:
            raise FrameworkError(error or f"the run in a process of its own ended with exit code {code}")
        if code in ERRORS_BY_EXIT_CODE and error:
            raise ERRORS_BY_EXIT_CODE[code](error)
        if code < 0:
            killed = FrameworkError(_killed(-code, plan))
            note_failure(plan.run_dir, killed)
            raise killed
        if code:
            raise RuntimeError(f"the run in a process of its own ended with exit code {code}: {error or 'see above'}")
        return load_record(Report, plan.run_dir / "report.json") if Stage.report in plan.stages else None


def _run(job: bytes, error_file: Path) -> tuple[int, int]:
    """Start the child, wait for it, and return its exit code and the signal that asked it to end; 0 for none.

    In a process group of its own the child gets a signal once, from here, and not a second time from the terminal.
    """
    command = [sys.executable, "-P", "-m", "framework_plugins.launch.child", str(error_file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, process_group=0) as process:  # noqa: S603 - our own words
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        passed: list[int] = []

        def pass_on(signum: int, _: FrameType | None) -> None:
            passed.append(signum)
            process.send_signal(signum)

        with handle_signals(pass_on):
            try:
                process.stdin.write(job)
                process.stdin.flush()
            except BrokenPipeError:  # it died while it started, and has said why
                pass
            return process.wait(), passed[0] if passed else 0


def _killed(signum: int, plan: Plan) -> str:
    name = signal_name(signum)
    if signum != signal.SIGKILL:
        return f"the run was killed by {name}"
    training = plan.training
    return (
        f"the run was killed by {name}, most likely for lack of memory. Less is needed with a smaller "
        f"trainer.per_device_train_batch_size (now {training.per_device_train_batch_size}) or trainer.max_seq_length "
        f"(now {training.max_seq_length}), with quantization=nf4, or by a smaller model"
    )
