"""What this machine has: GPUs, cores, memory, installed packages, a network."""

from framework.util.gpus import Gpu
from framework.util.gpus import count as gpu_count
from framework.util.host import GIB, HostMemory, cores, threads
from framework.util.host import memory as host_memory
from framework.util.network import reachable
from framework.util.requirements import missing, pip_command
from framework.util.versions import installed

__all__ = [
    "GIB",
    "Gpu",
    "HostMemory",
    "cores",
    "gpu_count",
    "host_memory",
    "installed",
    "missing",
    "pip_command",
    "reachable",
    "threads",
]
