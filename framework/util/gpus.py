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

    @staticmethod
    def count() -> int:
        """Return how many GPUs a run may use, by the driver and CUDA_VISIBLE_DEVICES; 0 if there is none."""
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        if chosen is not None:
            devices = [device.strip() for device in chosen.split(",")]
            # CUDA ignores the devices after the first that it cannot use.
            return next((index for index, device in enumerate(devices) if device in {"", "-1"}), len(devices))
        return _counted(os.environ.get("PATH", ""))

    @property
    def usable(self) -> int:
        """Bytes that tensors can have."""
        return self.free - round(CONTEXT * GIB)

    @property
    def bf16(self) -> bool:
        """Whether it computes in bf16, as far as its name tells."""
        return not _word(self.name).removeprefix("tesla").startswith(WITHOUT_BF16)


@dataclass(frozen=True)
class Card:
    """The memory and the speed of a GPU, by its name.

    Attributes:
        memory: bytes that CUDA offers, a little below what is on the box.
        operations: a second, in 16 bits with sums in fp32, without sparsity.
        bandwidth: bytes a second.
    """

    memory: int
    operations: float
    bandwidth: float


def _card(gib: float, tera: float, giga: float) -> Card:
    return Card(round(gib * GIB), tera * 1e12, giga * 1e9)


# NVIDIA's data sheets, and its papers on Pascal, Turing, Ampere, Ada, Hopper and Blackwell. The smaller one of two with
# the same name comes first.
CARDS = {
    "t4": _card(14.56, 65, 320), "v100_16": _card(15.8, 125, 900), "v100_32": _card(31.7, 125, 900),
    "gtx1080ti": _card(10.9, 11.3, 484), "rtx2060": _card(5.8, 25.8, 336), "rtx2070": _card(7.8, 29.9, 448),
    "rtx2080": _card(7.8, 40.3, 448), "rtx2080ti": _card(10.8, 53.8, 616), "rtx3060": _card(11.8, 25.5, 360),
    "rtx3060ti": _card(7.8, 32.4, 448), "rtx3070": _card(7.8, 40.6, 448), "rtx3080": _card(9.8, 59.5, 760),
    "rtx3080_12": _card(11.8, 61.3, 912), "rtx3090": _card(23.7, 71, 936), "rtx4060": _card(7.8, 30.2, 272),
    "rtx4060ti": _card(7.8, 44.1, 288), "rtx4060ti_16": _card(15.7, 44.1, 288), "rtx4070": _card(11.7, 58.3, 504),
    "rtx4070ti": _card(11.7, 80.2, 504), "rtx4080": _card(15.7, 97.5, 717), "rtx4090": _card(23.6, 165.2, 1008),
    "rtx5060": _card(7.8, 38.4, 448), "rtx5060ti": _card(7.8, 47.4, 448), "rtx5060ti_16": _card(15.6, 47.4, 448),
    "rtx5070": _card(11.6, 61.7, 672), "rtx5070ti": _card(15.6, 87.9, 896), "rtx5080": _card(15.6, 112.6, 960),
    "rtx5090": _card(31.4, 209.5, 1792), "a10": _card(22.5, 125, 600), "a10g": _card(22.5, 70, 600),
    "l4": _card(22.5, 121, 300), "a40": _card(44.9, 149.7, 696), "l40": _card(44.9, 181, 864),
    "l40s": _card(44.9, 362, 864), "a6000": _card(47.5, 154.8, 768), "rtx6000ada": _card(47.5, 364.2, 960),
    "a100_40": _card(39.5, 312, 1555), "a100_80": _card(79.2, 312, 2039), "h100": _card(79.2, 989, 3350),
    "h100pcie": _card(79.2, 756, 2000), "h200": _card(139.8, 989, 4800),
}  # fmt: skip
WITHOUT_BF16 = ("t4", "v100", "gtx", "rtx20", "titan", "p100", "p40", "quadrortx", "t1000", "t600")
"""How the names of GPUs before Ampere begin, which have no bf16."""
ON_THE_BOX = 0.1
"""How far the memory that CUDA offers may be from the size in a name, as a share of it."""
BESIDE = r"nvidia|geforce|tesla|generation|sxm\d?|hbm\d?e?|nvl"
"""Words of a driver that two cards may share."""


def known_as(text: str) -> str:
    """Return the name in `CARDS` of a GPU, given by that (`rtx4090`) or by the driver's (`NVIDIA A100-SXM4-80GB`).

    Of GPUs of several sizes the smallest, if the size is left out; empty if there is none. A name with more to it than
    memory and slot is another card, such as one for notebooks.
    """
    plain, size = _name_and_size(text)
    for name in (plain, plain.removesuffix("pcie")):
        for candidate in (f"{name}_{size}", name, *sizes(name)):
            if candidate in CARDS:
                return candidate
    return ""


def _name_and_size(text: str) -> tuple[str, str]:
    words = [word for word in re.split(r"[\s_-]+", text.lower()) if not re.fullmatch(BESIDE, word)]
    size = next((match[1] for word in words[1:] if (match := re.fullmatch(r"(\d\d)(?:gi?b)?", word))), "")
    name = "".join(word for word in words if not re.fullmatch(r"\d\d(?:gi?b)?", word))
    return re.sub(r"^rtx(?=a\d)", "", name), size


def sizes(name: str) -> list[str]:
    """Return the GPUs of one name that differ in memory, the smallest first."""
    return [candidate for candidate in CARDS if candidate.partition("_")[0] == name]


def card(text: str) -> Card | None:
    """Return what a GPU does, by its name; None: not known."""
    return CARDS.get(known_as(text))


def size_notice(text: str) -> str:
    """Say which size is planned for if `plan.gpu` leaves open which; empty if it does not."""
    word, chosen = _word(text), known_as(text)
    if not chosen or word in CARDS or word != chosen.partition("_")[0]:
        return ""
    return f"{text} is {' or '.join(sizes(word))}: planned for {chosen}, the smaller one"


def named(text: str) -> Gpu:
    """Return a GPU by its name, or one of a size: `rtx4090`, `24GiB`, `24gb`.

    Raises:
        FrameworkError: it is neither.
    """
    word, size = _word(text), _name_and_size(text)[1]
    if (name := known_as(text)) and (not size or abs(CARDS[name].memory / GIB / int(size) - 1) < ON_THE_BOX):
        return Gpu(name, CARDS[name].memory, CARDS[name].memory)
    written = re.fullmatch(r"(\d+(?:\.\d+)?)(gib|gb|g)", word)
    if written and float(written[1]) > 0:
        total = round(float(written[1]) * (1e9 if written[2] == "gb" else GIB))
        return Gpu(text, total, total)
    close = nearest(word, CARDS)
    hint = f" Did you mean '{close[0]}'?" if close else ""
    raise FrameworkError(
        f"plan.gpu={text}: no GPU of that name is known.{hint} Valid: {', '.join(CARDS)}, or a size such as 24GiB"
    )


def here() -> Gpu | None:
    """Return the GPU that a run would take, as its driver tells; None if there is none, or none is to be seen.

    Raises:
        FrameworkError: there is one of which the driver's `nvidia-smi` tells nothing that could be planned with.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpu = None if chosen is None else chosen.partition(",")[0].strip()
    if gpu is not None and gpu in {"", "-1"}:
        return None
    tool = _tool()
    # A MIG device is a slice of a GPU, and `nvidia-smi` reports the memory of the whole.
    if tool is None or (gpu or "").startswith("MIG"):
        if tool or any(Path(device).exists() for device in OTHERS):
            raise FrameworkError(UNTOLD)
        return None
    lines = _nvidia_smi(f"--query-gpu={QUERY}", "--format=csv,noheader,nounits", *(["-i", gpu] if gpu else []))
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


def identities() -> list[str]:
    """Return the UUIDs of all GPUs that the driver reports."""
    return [line for line in _nvidia_smi("--query-gpu=uuid", "--format=csv,noheader") if line.startswith("GPU-")]


@functools.cache
def _counted(_path: str) -> int:
    """Return how many GPUs the driver reports, asked once for each `PATH` by which its tool is found."""
    return sum(line.startswith("GPU ") for line in _nvidia_smi("-L"))


def _tool() -> str | None:
    """Return where `nvidia-smi` is."""
    return shutil.which("nvidia-smi", path=os.pathsep.join([os.environ.get("PATH", ""), WSL]))


def _nvidia_smi(*words: str) -> list[str]:
    """Return the lines that `nvidia-smi` prints; none from a driver without a GPU, or a broken one."""
    tool = _tool()
    if tool is None:
        return []
    try:
        result = subprocess.run([tool, *words], capture_output=True, text=True, timeout=TIMEOUT_S, check=True)  # noqa: S603 - our own words
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in result.stdout.splitlines()]


def _word(name: str) -> str:
    return re.sub(r"[\s-]", "", name.lower()).removeprefix("nvidia").removeprefix("geforce")
