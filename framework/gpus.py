"""GPUs: the one that is here, as its driver tells, and known ones by name. Without torch."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from dataclasses import dataclass

from framework.errors import FrameworkError, nearest

GIB = 2**30
CONTEXT = 0.5
"""GiB that CUDA keeps for a process: 0.14 were measured on a T4, 0.69 on an A6000."""
QUERY = "name,memory.total,memory.free"
PATIENCE = 10
"""Seconds for `nvidia-smi`; a driver that hangs is no GPU to train on."""


@dataclass(frozen=True)
class Gpu:
    """A GPU: its name, its memory and what of that is free in bytes, and dense 16-bit TFLOP/s by its data sheet."""

    name: str
    total: int
    free: int
    tflops: float = 0.0

    @property
    def usable(self) -> int:
        """Bytes that tensors can have."""
        return self.free - round(CONTEXT * GIB)


KNOWN = {
    "t4": (14.56, 65), "v100_16": (15.8, 112), "v100_32": (31.7, 112),
    "gtx1080ti": (10.9, 0), "rtx2060": (5.8, 52), "rtx2070": (7.8, 60), "rtx2080": (7.8, 81), "rtx2080ti": (10.8, 108),
    "rtx3060": (11.8, 51), "rtx3060ti": (7.8, 65), "rtx3070": (7.8, 81), "rtx3080": (9.8, 119),
    "rtx3080_12": (11.8, 122), "rtx3090": (23.7, 142), "rtx4060": (7.8, 60), "rtx4060ti": (7.8, 88),
    "rtx4060ti_16": (15.7, 88),
    "rtx4070": (11.7, 117), "rtx4070ti": (11.7, 160), "rtx4080": (15.7, 195), "rtx4090": (23.6, 330),
    "rtx5060": (7.8, 77), "rtx5060ti_16": (15.6, 95), "rtx5070": (11.6, 124), "rtx5070ti": (15.6, 176),
    "rtx5080": (15.6, 225), "rtx5090": (31.4, 419),
    "a10": (22.5, 125), "l4": (22.5, 121), "a40": (44.9, 150), "l40s": (44.9, 362), "a6000": (47.5, 155),
    "rtx6000ada": (47.5, 364), "a100_40": (39.5, 312), "a100_80": (79.2, 312), "h100": (79.2, 989),
    "h200": (139.8, 989),
}  # fmt: skip
"""By name: GiB that CUDA offers, a little below what is on the box, and TFLOP/s with 16-bit tensor cores, dense, from
NVIDIA's data sheets; 0 where a GPU has none."""


def named(text: str) -> Gpu:
    """Return a GPU by its name, or one of a size: `rtx4090`, `24GiB`, `24gb`.

    Raises:
        FrameworkError: it is neither.
    """
    word = re.sub(r"[\s-]", "", text.lower()).removeprefix("nvidia").removeprefix("geforce")
    if word in KNOWN:
        gib, tflops = KNOWN[word]
        return Gpu(word, round(gib * GIB), round(gib * GIB), tflops)
    size = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g)", word)
    if size and float(size[1]) > 0:
        total = round(float(size[1]) * (1e9 if size[2] == "gb" else GIB))
        return Gpu(text, total, total)
    close = nearest(word, KNOWN)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    message = f"plan.gpu={text}: no GPU of that name is known.{hint} Valid: {', '.join(KNOWN)}, or a size such as 24GiB"
    raise FrameworkError(message)


@functools.cache
def here() -> Gpu | None:
    """Return the GPU of this machine, the first where there are several; None where there is none."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    words = [command, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=True)  # noqa: S603 - our own words
        name, total, free = (part.strip() for part in done.stdout.splitlines()[0].rsplit(",", 2))
        sizes = [round(float(size) * 2**20) for size in (total, free)]
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):  # a driver without a GPU, or a broken one
        return None
    return Gpu(name, sizes[0], sizes[1], _tflops(name))


def _tflops(name: str) -> float:
    """Return the data sheet's speed of a GPU by the driver's name for it; 0 where it is not known."""
    word = re.sub(r"[\s-]", "", name.lower())
    found = [known for known in KNOWN if known.partition("_")[0] in word]
    return KNOWN[max(found, key=len)][1] if found else 0.0
