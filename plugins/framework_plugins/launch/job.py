"""The process of a job that runs a plan, which it reads from standard input.

Not for users: `started` starts `python -m framework_plugins.launch.job` on each node, for Slurm and for Ray. The end of
standard input means that the job is gone, and then the run ends too. On one of several nodes it starts the processes of
that node, which are this module again and read the plan from a file: words, composed there, could give another plan.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from framework import FrameworkError, Plan
from framework.api.program import Interrupted, Launcher, locked
from framework_plugins.launch.checks import GROUP_VARIABLE
from framework_plugins.launch.child import INTERRUPTED, LOST, USER_MISTAKE
from framework_plugins.launch.config import Where
from framework_plugins.launch.node import start_node
from framework_plugins.launch.pickled_plan import PickledPlan, end_with, pickle_plan
from framework_plugins.launch.worker import LostError


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of a node.

    Attributes:
        packed: the pickled plan.
        folder: where it runs; paths are relative to it.
    """

    packed: bytes
    folder: str


def work_of(plan: Plan) -> Work:
    """Return the work of a job for a plan: to run it there as it would run here."""
    local_launch = dataclasses.replace(plan.launch, config=dataclasses.replace(plan.launch.config, on=Where.local))
    return Work(pickle.dumps(pickle_plan(dataclasses.replace(plan, launch=local_launch))), str(Path.cwd()))


@contextmanager
def started(work: Work, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the run of a job. Only what started the job puts it back into a queue, and only the run makes a group."""
    command = [sys.executable, "-P", "-m", "framework_plugins.launch.job", *words]
    dropped = {"SLURM_JOB_ID", *filter(GROUP_VARIABLE.fullmatch, os.environ)}
    variables = {name: value for name, value in os.environ.items() if name not in dropped}
    with subprocess.Popen(  # noqa: S603 - our own words
        command, cwd=work.folder, stdin=subprocess.PIPE, env=variables, process_group=0
    ) as process:
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.write(work.packed)
        process.stdin.flush()
        yield process


def on_node(plan: Plan, packed: PickledPlan, rendezvous: str, *words: str) -> None:
    """Start the processes of one of several nodes, which meet at a place, with more words for each of them."""
    with tempfile.TemporaryDirectory() as folder:  # which nobody else may read: the plan may hold secrets
        file = Path(folder, "plan")
        file.write_bytes(pickle.dumps(packed))
        config = dataclasses.replace(plan.launch.config, rendezvous=rendezvous)
        start_node(plan, config, "framework_plugins.launch.job", ["--plan", str(file), *words])


def main(words: Sequence[str]) -> int:
    """Run the plan; the exit codes are those of the program itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rendezvous")
    parser.add_argument("--held", action="store_true")
    parser.add_argument("--errors", type=Path)
    parser.add_argument("--plan", type=Path)
    arguments = parser.parse_args(words)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # Slurm's warning, which submitit passes on as SIGINT
    try:
        with arguments.plan.open("rb") if arguments.plan else nullcontext(sys.stdin.buffer) as file:
            packed: PickledPlan = pickle.load(file)  # noqa: S301 - our own submission wrote it
        if not arguments.plan:  # or torchrun's agent ends it
            threading.Thread(target=end_with, args=(sys.stdin.fileno(),), daemon=True).start()
        plan = packed.load()
        if arguments.rendezvous:
            held_words, error_words = (
                ["--held"] if arguments.held else [],
                ["--errors", str(arguments.errors)] if arguments.errors else [],
            )
            on_node(plan, packed, arguments.rendezvous, *held_words, *error_words)
            return 0
        launcher: Launcher = plan.launch.create()
        with nullcontext() if arguments.held or not plan.launch.config.writes() else locked(plan.run_dir):
            launcher.launch(plan)
    except FrameworkError as error:
        print(error, file=sys.stderr)  # noqa: T201 - as the program does
        is_lost = isinstance(error, LostError)
        if arguments.errors and not (is_lost and arguments.errors.exists()):  # another process of the node has said why
            arguments.errors.write_text(str(error), encoding="utf-8")
        return LOST if is_lost else USER_MISTAKE
    except KeyboardInterrupt as error:
        return error.code if isinstance(error, Interrupted) else INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
