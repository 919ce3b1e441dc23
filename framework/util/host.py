"""The memory of this machine, within what its container is given."""

from __future__ import annotations

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
