"""Starts the processes of a group by torchrun's agent, and notes which of them died and with which code.

Not for users: `launcher.py` starts it as `python -m framework_plugins.launch.agent RUN_DIR PROCESSES`. What torchrun
would print, which process ended with which code, is written down for the launcher. If one process ends with an
error, torchrun's agent ends the others at once. This process ends with the launcher.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path

from framework_plugins.launch.config import FAILED_FILE
from framework_plugins.launch.node import silence_agent
from framework_plugins.launch.pickled_plan import end_with
from framework_plugins.launch.worker import GROUP
from framework_plugins.lib.group_member import GROUP_STORE
from framework_plugins.lib.host import threads as cpu_threads

GRACE_SECONDS = 5
"""Seconds that a process has to end before it is killed."""


def main() -> int:
    """Start the processes and wait for them."""
    run_dir, processes = sys.argv[1], int(sys.argv[2])
    folder = Path(run_dir) / GROUP
    store = Path(os.environ[GROUP_STORE])
    # Nothing else would end it if the launcher was killed, which then leaves both folders to it.
    watch = (sys.stdin.fileno(), signal.SIGKILL, partial(_remove, folder, store.parent))
    threading.Thread(target=end_with, args=watch, daemon=True).start()
    # Warnings of a batch system are for the run; whoever starts a process passes this on.
    for name in ("SIGUSR1", "SIGUSR2", "SIGXCPU"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    os.environ |= {
        "OMP_NUM_THREADS": str(cpu_threads(processes)),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(GRACE_SECONDS),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # it opens a port
    }
    # These take seconds to import, in which the launcher may end.
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - as above
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415 - as above

    silence_agent()  # the launcher says what happened
    # By a file, since the agent unpickles what is in its store, and a port would be open to other machines.
    # Called in code: as a command, torchrun only prints which process died and how; `accelerate launch` reads settings
    # from files and the environment, and on a CPU starts something else without a message.
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, run_id="group", rdzv_backend="c10d",
        rdzv_endpoint=str(store.with_name("agent")), rdzv_configs={"store_type": "file"}, local_addr="localhost",
        max_restarts=0, logs_specs=DefaultLogsSpecs(str(folder)),
    )  # fmt: skip
    try:
        # -P: what lies in the folder where the run was started is not imported.
        elastic_launch(config, sys.executable)("-P", "-m", "framework_plugins.launch.worker", run_dir)
    except ChildFailedError as error:
        ends = {rank: failure.exitcode for rank, failure in error.failures.items()}
        (folder / FAILED_FILE).write_text(json.dumps(ends), encoding="utf-8")
        return 1
    except SignalException:  # the launcher ends the agent by SIGTERM, and knows why
        return 1
    return 0


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
