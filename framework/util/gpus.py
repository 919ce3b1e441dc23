"""GPUs: the one that is here, as its driver tells, and known ones by name. Without torch."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from framework.util.errors import FrameworkError, nearest
from framework.util.host import GIB

CONTEXT = 0.5
"""GiB that CUDA keeps for a process: 0.14 were measured on a T4, 0.69 on an A6000."""
QUERY = "name,memory.total,memory.free"
WSL = "/usr/lib/wsl/lib"
"""Where Windows puts the driver's programs into its Linux."""
OTHERS = ("/dev/kfd", "/dev/nvhost-gpu", "/dev/nvidia0")
"""Devices of GPUs of which `nvidia-smi` tells nothing, or is not there to tell."""
UNTOLD = "nvidia-smi does not report the memory of the GPU here: set it yourself, as in plan.gpu=24GiB"
TIMEOUT_S = 10
"""Seconds for `nvidia-smi`; a driver that hangs is not a GPU to train on."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, its memory and the free part of it, in bytes."""

    name: str
    total: int
    free: int

    @property
    def usable(self) -> int:
        """Bytes that tensors can have."""
        return self.free - round(CONTEXT * GIB)

    @property
    def bf16(self) -> bool:
        """Whether it computes in bf16, as far as its name tells."""
        return not _word(self.name).removeprefix("tesla").startswith(WITHOUT_BF16)


KNOWN = {
    "t4": 14.56, "v100_16": 15.8, "v100_32": 31.7,
    "gtx1080ti": 10.9, "rtx2060": 5.8, "rtx2070": 7.8, "rtx2080": 7.8, "rtx2080ti": 10.8,
    "rtx3060": 11.8, "rtx3060ti": 7.8, "rtx3070": 7.8, "rtx3080": 9.8,
    "rtx3080_12": 11.8, "rtx3090": 23.7, "rtx4060": 7.8, "rtx4060ti": 7.8,
    "rtx4060ti_16": 15.7,
    "rtx4070": 11.7, "rtx4070ti": 11.7, "rtx4080": 15.7, "rtx4090": 23.6,
    "rtx5060": 7.8, "rtx5060ti_16": 15.6, "rtx5070": 11.6, "rtx5070ti": 15.6,
    "rtx5080": 15.6, "rtx5090": 31.4,
    "a10": 22.5, "l4": 22.5, "a40": 44.9, "l40s": 44.9, "a6000": 47.5,
    "rtx6000ada": 47.5, "a100_40": 39.5, "a100_80": 79.2, "h100": 79.2,
    "h200": 139.8,
}  # fmt: skip
"""GiB that CUDA offers, by name: a little below what is on the box."""
WITHOUT_BF16 = ("t4", "v100", "gtx", "rtx20", "titan", "p100", "p40", "quadrortx", "t1000", "t600")
"""How the names of GPUs before Ampere begin, which have no bf16."""


def named(text: str) -> Gpu:
    """Return a GPU by its name, or one of a size: `rtx4090`, `24GiB`, `24gb`.

    Raises:
        FrameworkError: it is neither.
    """
    word = _word(text)
    if word in KNOWN:
        size = round(KNOWN[word] * GIB)
        return Gpu(word, size, size)
    written = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g)", word)
    if written and float(written[1]) > 0:
        total = round(float(written[1]) * (1e9 if written[2] == "gb" else GIB))
        return Gpu(text, total, total)
    close = nearest(word, KNOWN)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise FrameworkError(
        f"plan.gpu={text}: no GPU of that name is known.{hint} Valid: {', '.join(KNOWN)}, or a size such as 24GiB"
    )


def here() -> Gpu | None:
    """Return the GPU that a run would take, as its driver tells; None if there is none, or none is to be seen.

    Raises:
        FrameworkError: there is one of which the driver's `nvidia-smi` tells nothing that could be planned with.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = None if chosen is None else chosen.partition(",")[0].strip()
    if first is not None and first in {"", "-1"}:
        return None
    tool = _tool()
    # A MIG device is a slice of a GPU, and `nvidia-smi` reports the memory of the whole.
    if tool is None or (first or "").startswith("MIG"):
        if tool or any(Path(device).exists() for device in OTHERS):
            raise FrameworkError(UNTOLD)
        return None
    lines = _asked(f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", *(["-i", first] if first else []))
    try:
        # From the right: a name may contain a comma.
        name, total, free = (part.strip() for part in lines[0].rsplit(",", 2))
    except (ValueError, IndexError):
        return None
    try:
        sizes = [round(float(size) * 2**20) for size in (total, free)]
    except ValueError as error:  # "[N/A]", where GPU and CPU share their memory
        raise FrameworkError(UNTOLD) from error
    return Gpu(name, *sizes)


def count() -> int:
    """Return how many GPUs a run may use, by the driver and CUDA_VISIBLE_DEVICES; 0 if there is none."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        numbers = [number.strip() for number in chosen.split(",")]
        # CUDA ignores the devices after the first that it cannot use.
        return next((at for at, number in enumerate(numbers) if number in {"", "-1"}), len(numbers))
    return _counted(os.environ.get("PATH", ""))


def identities() -> list[str]:
    """Return the UUIDs of all GPUs that the driver reports."""
    return [line for line in _asked("--query-gpu=uuid", "--format=csv,noheader") if line.startswith("GPU-")]


@functools.cache
def _counted(_path: str) -> int:
    """Return how many GPUs the driver reports, asked once for each `PATH` by which its tool is found."""
    return sum(line.startswith("GPU ") for line in _asked("-L"))


def _tool() -> str | None:
    """Return where `nvidia-smi` is."""
    return shutil.which("nvidia-smi", path=os.pathsep.join([os.environ.get("PATH", ""), WSL]))


def _asked(*words: str) -> list[str]:
    """Return the lines that `nvidia-smi` prints; none from a driver without a GPU, or a broken one."""
    tool = _tool()
    if tool is None:
        return []
    try:
        done = subprocess.run([tool, *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - our own words
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines()]


def _word(name: str) -> str:
    return re.sub(r"[\s-]", "", name.lower()).removeprefix("nvidia").removeprefix("geforce")
