"""Starts the processes of a group by torchrun's own agent, and notes which of them died and how.

Not for users: `launcher.py` starts it as `python -m framework_launch.agent JSON`. Where one process ends with an error
the agent ends the others at once. It ends with the launcher, also while it waits for other machines.
"""

from __future__ import annotations

import json
import logging
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from framework.handover import end_with
from framework_launch.config import FAILED

JOIN = 24 * 3600
"""Seconds for all machines to come together: the first one evaluates the base before it trains."""
GRACE = 5
"""Seconds that a process has to end before it is killed."""


def main() -> int:
    """Start the processes and wait for them."""
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the launcher says what happened
    asked: dict[str, Any] = json.loads(sys.argv[1])
    leave_nothing = partial(shutil.rmtree, asked["folder"], ignore_errors=True)
    # Nothing else would end it while it waits in torch; who was killed leaves the folder of the job to it.
    watch = (sys.stdin.fileno(), signal.SIGKILL, leave_nothing)
    threading.Thread(target=end_with, args=watch, daemon=True).start()
    for name in ("SIGUSR1", "SIGUSR2"):  # Slurm's warnings are for the run; whoever starts a process passes this on
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    several = asked["machines"] > 1
    config = LaunchConfig(
        min_nodes=asked["machines"],
        max_nodes=asked["machines"],
        nproc_per_node=asked["processes"],
        logs_specs=DefaultLogsSpecs(log_dir=asked["folder"]),  # by itself torch makes a folder that it leaves
        run_id=asked["run_id"],
        rdzv_backend="static" if several else "c10d",
        rdzv_endpoint=asked["endpoint"] if several else "localhost:0",
        rdzv_configs={"rank": asked["rank"], "timeout": JOIN} if several else {},
        local_addr=None if several else "localhost",
        max_restarts=0,
        shutdown_timeout=GRACE,
    )
    try:
        elastic_launch(config, sys.executable)("-P", "-m", "framework.worker", asked["folder"])
    except ChildFailedError as error:
        ends = {rank: failure.exitcode for rank, failure in error.failures.items()}
        Path(asked["folder"], FAILED).write_text(json.dumps(ends), encoding="utf-8")
        return 1
    except SignalException:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
