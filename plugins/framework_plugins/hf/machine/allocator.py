"""What torch's libraries hold, and how its threads wait: settings of the environment, there before torch is.

On a GPU, rows of ever other lengths leave blocks behind that fit no later tensor. With expandable segments the
allocator maps pages to one range of addresses instead, and memory does not run out while much of it is in such blocks.

On a CPU, oneDNN writes code for each new shape of a product in 16 bits, into a buffer of 256 KiB. It keeps the latest
1,024, and ideep, which is between it and torch, keeps 1,024 of its own: after some steps of ever other lengths these
are 0.6 GiB. A product is as fast if oneDNN alone keeps it, and slow each time if only ideep does.

Each operation ends when all threads are done, and a thread that waits for another keeps its core for about a
millisecond. Beside another process that is the core on which the other thread could run: there it sleeps sooner.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import MutableMapping

from packaging.version import Version

from framework.api import installed
from framework_plugins.hf.settings.memory_plan import KEPT_SHAPES
from framework_plugins.lib.host import cores as cpu_cores

VARIABLE, OLD_VARIABLE = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
RENAMED = Version("2.10")
"""The first torch whose documentation has the new name; 2.13 reads both, and warns of the old one."""
EXPANDABLE_SEGMENTS = "expandable_segments:True"
CPU_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": str(KEPT_SHAPES), "LRU_CACHE_CAPACITY": "1"}
"""How many shapes oneDNN and ideep keep; with 0 for ideep torch 2.13 ends in a segmentation fault."""

SPIN_VARIABLE, SPINS = "GOMP_SPINCOUNT", "1000"
"""How often a waiting thread looks before it sleeps; GNU's OpenMP has 300,000. On two cores, six steps of the
quickstart beside one busy process took 12.5 s instead of 20.5; with nothing beside them 9.4 instead of 8.5."""
BUSY, FEW_CORES = 0.7, 4
"""Processes that run or wait for a core, on average over the last minute, from which on the machine is busy; and the
most cores: of more threads, more would have to be woken after each operation, which nobody has measured."""


def expand_segments(environ: MutableMapping[str, str]) -> None:
    """Ask for expandable segments where torch has them: on Linux, built for CUDA, unless the user set something.

    Windows' Linux is left out: its driver shares no memory by file descriptors, which is how torch makes a segment.
    """
    version = installed("torch") or ""
    linux = sys.platform == "linux" and "microsoft" not in platform.release().lower()
    if not linux or not version or any(build in version for build in ("+cpu", "+rocm", "+xpu")):
        return
    if VARIABLE not in environ and OLD_VARIABLE not in environ:
        environ[VARIABLE if Version(version) >= RENAMED else OLD_VARIABLE] = EXPANDABLE_SEGMENTS


def keep_few_shapes(environ: MutableMapping[str, str]) -> None:
    """Let the code for a shape be kept once, and for the latest shapes only, unless the user set something."""
    for name, shapes in CPU_CACHES.items():
        environ.setdefault(name, shapes)


def sleep_soon(environ: MutableMapping[str, str], cores: int, load: float) -> None:
    """Let threads that wait sleep soon on few cores of a busy machine, unless the user set something."""
    if load >= BUSY and cores <= FEW_CORES and "OMP_WAIT_POLICY" not in environ:
        environ.setdefault(SPIN_VARIABLE, SPINS)


expand_segments(os.environ)
keep_few_shapes(os.environ)
if sys.platform == "linux":
    sleep_soon(os.environ, cpu_cores(), os.getloadavg()[0])
