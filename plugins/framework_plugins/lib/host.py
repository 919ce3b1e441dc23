"""The cores of this machine, within what its container is given."""

from __future__ import annotations

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Count the cores that this process may use, hyperthreads once, within the limit of its container."""
    import psutil  # noqa: PLC0415 - 10 ms, which a start of the program does without

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
