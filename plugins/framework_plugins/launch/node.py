"""`launch.nodes=2 launch.rendezvous=HOST:PORT`: starts the processes of one machine, by torchrun's agent.

Each of them is `python -m framework` with the words of this one, as an outer torchrun would start it, or reads the plan
of a job of Slurm; see `outer.py`.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path

from framework import FrameworkError, Plan
from framework.api.program import Interrupted
from framework_plugins.launch.config import GroupConfig
from framework_plugins.lib.group_member import GROUP_STORE
from framework_plugins.lib.host import threads as cpu_threads


def start_node(plan: Plan, config: GroupConfig, module: str, words: Sequence[str]) -> None:
    """Start the processes of this machine once all machines have met, and wait for them.

    Args:
        plan: what they run.
        config: where they meet.
        module: what Python starts as each of them.
        words: its command line.

    Raises:
        FrameworkError: the others did not come.
        SystemExit: a process failed, and has said why, or was killed: 128 and the number of the signal, as in shells.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(config.on_each_node)))
    # It prints the frames of its own code for each connection that breaks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # A machine that comes back would not find the store of the others (seen in torch 2.13).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs  # noqa: PLC0415 - the plan does without torch
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - as above
    from torch.distributed.elastic.rendezvous import RendezvousError  # noqa: PLC0415 - as above
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415 - as above

    silence_agent()  # the processes say what happened
    assert config.rendezvous is not None  # noqa: S101 - the plan has looked
    assert config.nodes is not None  # noqa: S101 - as above
    host, _, port = config.rendezvous.rpartition(":")
    seconds, setting = math.ceil(config.wait_seconds), f"launch.rendezvous={config.rendezvous}"
    # torch takes the machine whose name is that of HOST for the one that opens the port, and the address of its name
    # for its own: both are wrong if /etc/hosts maps the name to 127.0.1.1.
    opens, address = is_here(host, setting), address_towards(host, int(port))
    if (interface := interface_of(address)) and address != host:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    settings = LaunchConfig(
        min_nodes=config.nodes, max_nodes=config.nodes, nproc_per_node=config.on_each_node, run_id=plan.run_dir.name,
        rdzv_backend="c10d", rdzv_endpoint=config.rendezvous, local_addr=address, max_restarts=config.restarts,
        rdzv_configs={"is_host": opens, "join_timeout": seconds, "read_timeout": seconds},
        shutdown_timeout=math.ceil(plan.settings.grace_seconds) + 5, logs_specs=DefaultLogsSpecs(os.devnull),
    )  # fmt: skip
    try:
        elastic_launch(settings, sys.executable)("-u", "-m", module, *words)
    except ChildFailedError as error:
        codes = [failure.exitcode for failure in error.failures.values()]
        raise SystemExit(next((code for code in codes if code > 0), 128 - codes[0])) from None
    except SignalException as error:
        raise Interrupted(error.sigval) from None
    except RendezvousError as error:
        limit = f"within launch.wait_seconds={config.wait_seconds:g}"
        reason = (
            f"fewer than {config.nodes} machines came {limit}, or the port is in use on this one"
            if opens
            else f"nobody answers there: that machine has ended the run, or did not start {limit}"
        )
        raise FrameworkError(
            f"{setting}: {reason}. Start the same command on {config.nodes} machines, and let them reach each other"
        ) from error


def silence_agent() -> None:
    """Keep from the terminal what torchrun's agent logs. Each of its modules sets a level of its own."""
    logger = logging.getLogger("torch.distributed.elastic")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())


def on_one_machine(store: Path) -> dict[str, str]:
    """Return the variables of processes on one machine: a file, in a folder of this user only, instead of a port.

    What gloo and NCCL send needs ports, which are those of the loopback device.
    """
    loopback = interface_of("127.0.0.1")
    return {GROUP_STORE: str(store), "GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}


def is_here(host: str, setting: str) -> bool:
    """Whether a name or an address is that of this machine.

    Raises:
        FrameworkError: no machine has that name.
    """
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        raise FrameworkError(f"{setting}: no machine of this name is known here: give an address") from error
    for address in addresses:
        family = socket.AF_INET6 if ":" in str(address) else socket.AF_INET
        with closing(socket.socket(family, socket.SOCK_STREAM)) as tried, suppress(OSError):
            tried.bind((address, 0))  # which works for addresses of this machine only
            return True
    return False


def address_towards(host: str, port: int) -> str:
    """Return the address of this machine that another one sees; nothing is sent."""
    family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with closing(socket.socket(family, kind)) as tried:
        tried.connect(address)
        return str(tried.getsockname()[0])


def interface_of(address: str) -> str:
    """Return the name of the network device that has an address; empty if that is not known."""
    import psutil  # noqa: PLC0415 - only here

    names = (
        name
        for name, addresses in psutil.net_if_addrs().items()
        if any(candidate.address == address for candidate in addresses)
    )
    return next(names, "")
