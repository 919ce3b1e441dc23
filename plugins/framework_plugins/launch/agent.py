"""Starts the processes of a group: `accelerate launch -m framework.run.worker RUN_DIR`; notes which died and how.

Not for users: `launcher.py` starts it as `python -m framework_plugins.launch.agent JSON`. What accelerate's own command
would print, which process ended with which code, is written down for the launcher. Where one process ends with an
error, torchrun's agent, which accelerate starts, ends the others at once. It ends with the launcher, also while it
waits for other machines.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from framework.api.launching import GROUP, end_with
from framework.api.machine import cores as cpu_cores
from framework_plugins.launch.config import FAILED

JOIN = 24 * 3600
"""Seconds for all machines to come together: the first one evaluates the base before it trains."""
GRACE = 5
"""Seconds that a process has to end before it is killed."""
CONFIG = "accelerate.json"


@dataclass(frozen=True)
class Asked:
    """What is to be started.

    Attributes:
        folder: the run's, or what stands for it on other machines than the first.
        leave: what is removed where the launcher was killed.
        machines: that take part.
        processes: on each machine.
        rank: of this machine.
        host: the first machine, where the others find it.
        port: on which they find it.
    """

    folder: str
    leave: str
    machines: int
    processes: int
    rank: int
    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Asked:
        return cls(**json.loads(text))

    @property
    def text(self) -> str:
        """All of it as JSON."""
        return json.dumps(asdict(self))


def main() -> int:
    """Start the processes and wait for them."""
    asked = Asked.read(sys.argv[1])
    leave_nothing = partial(shutil.rmtree, asked.leave, ignore_errors=True)
    # Nothing else would end it while it waits in torch; who was killed leaves the folder of the job to it.
    watch = (sys.stdin.fileno(), signal.SIGKILL, leave_nothing)
    threading.Thread(target=end_with, args=watch, daemon=True).start()
    for name in ("SIGUSR1", "SIGUSR2"):  # Slurm's warnings are for the run; whoever starts a process passes this on
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    # These take seconds to import, in which the launcher may end.
    from accelerate.commands.launch import launch_command  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - as above

    for name in ("torch.distributed.elastic", "torch.distributed.run"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the launcher says what happened
    try:
        launch_command(command(asked))
    except ChildFailedError as error:
        ends = {rank: failure.exitcode for rank, failure in error.failures.items()}
        (Path(asked.folder) / GROUP / FAILED).write_text(json.dumps(ends), encoding="utf-8")
        return 1
    except SignalException:
        return 1
    return 0


def command(asked: Asked) -> argparse.Namespace:
    """Return the command as `accelerate launch` reads it.

    Its config file keeps the user's own, `accelerate config`, out of this. MULTI_GPU is what makes accelerate start
    more than one process, on a CPU too; which engine they bring up stands in the training arguments of each.
    """
    from accelerate.commands.launch import launch_command_parser  # noqa: PLC0415 - it takes seconds, see above

    folder = Path(asked.folder) / GROUP
    several = asked.machines > 1
    config = {
        "compute_environment": "LOCAL_MACHINE", "distributed_type": "MULTI_GPU", "mixed_precision": "no",
        "gpu_ids": "all", "num_machines": asked.machines, "num_processes": asked.machines * asked.processes,
        "machine_rank": asked.rank, "main_process_ip": asked.host, "main_process_port": asked.port if several else 0,
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    words = ["--config_file", str(folder / CONFIG), "--log_dir", str(folder), "--same_network"]
    if several:
        words += ["--rdzv_conf", f"timeout={JOIN}"]
    words += ["--num_cpu_threads_per_process", str(threads(asked.processes))]
    made: argparse.Namespace = launch_command_parser().parse_args(
        [*words, "--module", "framework.run.worker", asked.folder]
    )
    # Settings of torchrun for which accelerate has no word; it hands on what bears torchrun's names.
    made.shutdown_timeout = GRACE
    if not several:  # torch takes a port that is free, and a name that is known on each machine
        made.standalone, made.local_addr = True, "localhost"
    return made


def threads(processes: int) -> int:
    """Return how many threads of the CPU each process gets: those that were asked for, or its share."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else max(1, cpu_cores() // processes)


if __name__ == "__main__":
    sys.exit(main())
