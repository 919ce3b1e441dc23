"""The memory and the cores of this machine, within what its container is given."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class HostMemory:
    """The total memory in bytes and the available part; `limited` if a container sets the total."""

    total: int
    available: int
    limited: bool


def memory() -> HostMemory:
    """Return the memory of the machine, or of the container (cgroup v2)."""
    import psutil  # noqa: PLC0415 - 10 ms, which a start of the program does without

    system = psutil.virtual_memory()
    limit, used = (_number(CGROUP / name) for name in ("memory.max", "memory.current"))
    used = max(0, (used or 0) - _cached())
    if limit is None or limit >= system.total:
        return HostMemory(system.total, system.available, limited=False)
    # The machine may run out before the container does.
    return HostMemory(limit, min(system.available, max(0, limit - used)), limited=True)


def _cached() -> int:
    """Return the bytes of files that the kernel holds and would give back."""
    try:
        lines = (CGROUP / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # as below
        return 0
    return sum(int(line.partition(" ")[2]) for line in lines if line.startswith("inactive_file "))


def own() -> int:
    """Return the bytes that this process has."""
    import psutil  # noqa: PLC0415 - as above

    return int(psutil.Process().memory_info().rss)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no Linux, or no limit: "max"
        return None


def cores() -> int:
    """Count the cores that this process may use, hyperthreads once, within the limit of its container."""
    import psutil  # noqa: PLC0415 - as above

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    counts = [allowed, psutil.cpu_count(logical=False) or allowed]  # None on systems that do not tell
    try:
        quota, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):  # no Linux, or no limits of this kind
        quota, period = "max", "1"
    if quota != "max":
        counts.append(max(1, int(quota) // int(period)))  # half a core is one
    return min(counts)


def threads(processes: int = 1) -> int:
    """Return how many threads each of the processes should use: `OMP_NUM_THREADS`, or its share of the cores."""
    setting = os.environ.get("OMP_NUM_THREADS", "")
    return int(setting) if setting.isdecimal() and int(setting) else max(1, cores() // processes)
