"""How torch's allocator takes a GPU's memory: a setting of the environment, which has to be there before torch is.

Rows of ever other lengths leave blocks behind that fit no later tensor. With expandable segments the allocator maps
pages to one range of addresses instead, and memory does not run out while much of it lies in such blocks.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import MutableMapping

from packaging.version import Version

from framework.api.machine import installed

NEW, OLD = "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"
RENAMED = Version("2.10")
"""The first torch whose documentation has the new name; 2.13 reads both, and warns of the old one."""
EXPANDABLE = "expandable_segments:True"


def expand_segments(environ: MutableMapping[str, str]) -> None:
    """Ask for expandable segments where torch has them: on Linux, built for CUDA, unless the user set something.

    Windows' Linux is left out: its driver shares no memory by file descriptors, which is how torch makes a segment.
    """
    version = installed("torch") or ""
    linux = sys.platform == "linux" and "microsoft" not in platform.release().lower()
    if not linux or not version or any(build in version for build in ("+cpu", "+rocm", "+xpu")):
        return
    if NEW not in environ and OLD not in environ:
        environ[NEW if Version(version) >= RENAMED else OLD] = EXPANDABLE


expand_segments(os.environ)
