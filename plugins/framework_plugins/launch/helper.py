"""Processes that answer a part of the prompts of an evaluation, each with the model on a GPU of its own.

`Helper` starts `python -m framework_plugins.launch.helper` when it is first needed. That process opens the model with
the run's backend, answers what it is sent, and ends with the process that started it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from framework import FrameworkError, Plan
from framework.api import Answer, Gpu
from framework.api.program import error_traceback
from framework.api.training import AnswerTask, Backend
from framework_plugins.launch.pickled_plan import PickledPlan, end_with, pickle_plan
from framework_plugins.lib.host import threads as cpu_threads

LEAVE_SECONDS = 10
"""Seconds that a helper has to end before it is killed."""


class Helper:
    """Answers in another process.

    Args:
        plan: the run.
        gpu_index: of the GPU; the run itself has the first.
        processes: how many share the cores of this machine.
    """

    def __init__(self, plan: Plan, gpu_index: int, processes: int) -> None:
        self._plan = plan
        self._gpu_index = gpu_index
        self._processes = processes
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection[Any, Any]

    def __call__(self, task: AnswerTask) -> Any:
        """Begin a task, and return what waits for its answers."""
        if self._process is None:
            self._start()
        self._pipe.send(task)
        return self._answers

    def _start(self) -> None:
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-P", "-m", "framework_plugins.launch.helper", str(theirs.fileno())]
        surroundings = {
            "OMP_NUM_THREADS": str(cpu_threads(self._processes)), **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }  # fmt: skip
        if (gpus := Gpu.count()) and self._plan.trainer.config.may_use_gpu():
            chosen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
            surroundings["CUDA_VISIBLE_DEVICES"] = chosen.split(",")[self._gpu_index].strip()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                command, stdin=subprocess.PIPE, env=surroundings, pass_fds=[theirs.fileno()], process_group=0
            )
        self._pipe.send(pickle_plan(self._plan))

    def _answers(self) -> list[Answer]:
        """Wait for the answers.

        Raises:
            FrameworkError: a user's mistake, or the process was killed.
            RuntimeError: it failed; the message is its traceback.
        """
        launch = f"launch={self._plan.launch.component.name}: process {self._gpu_index}, which answers prompts"
        try:
            succeeded, payload = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise FrameworkError(
                f"{launch}, was killed, most likely for lack of memory: set launch=single for the evaluation, "
                "stages=[evaluate,export,report]"
            ) from error
        if succeeded:
            answers: list[Answer] = payload
            return answers
        mistake, text = payload
        raise FrameworkError(f"{launch}: {text}") if mistake else RuntimeError(f"{launch}, failed\n{text}")

    def close(self) -> None:
        """End the process, which frees its memory; the next task starts it again."""
        process, self._process = self._process, None
        if process is None:
            return
        self._pipe.close()
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.close()  # it ends with that
        wait_or_kill(process, LEAVE_SECONDS)


def wait_or_kill(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of a process, and bring it about if it does not come in time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    """Answer until the run is gone."""
    threading.Thread(target=end_with, args=(sys.stdin.fileno(), signal.SIGKILL), daemon=True).start()
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    packed: PickledPlan = pipe.recv()
    try:
        plan = packed.load()
        backend: Backend = plan.trainer.create()
        with backend.open(plan) as model:
            while True:
                pipe.send((True, model.answer(pipe.recv())))
    except EOFError:
        return 0
    except FrameworkError as error:
        pipe.send((False, (True, str(error))))
    except Exception as error:  # noqa: BLE001 - whatever it is, the run tells it
        pipe.send((False, (False, error_traceback(error))))
    return 1


if __name__ == "__main__":
    sys.exit(main())
