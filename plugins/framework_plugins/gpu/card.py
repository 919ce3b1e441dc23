"""The GPU that is measured: what a Python's torch sees of it, and why it cannot be measured."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from framework import FrameworkError
from framework.api import GIB, summarize_error

PEERS = Path(__file__).parent / "peers"
VISIBLE = "CUDA_VISIBLE_DEVICES"
SECONDS = 180
"""For a Python that imports torch for the first time."""
TOO_OLD = "too old"
"""What torch says of a driver that is older than the CUDA that it was built for."""
AMPERE = 8.0
"""The compute capability from which on a GPU has bf16."""


@dataclass(frozen=True)
class Card:
    """A GPU: its name, its memory in bytes, its compute capability. Without a name it is the CPU of a dry run."""

    name: str = ""
    memory: int = 0
    capability: str = ""

    @property
    def dtype(self) -> str:
        """The number format of 16 bits that it computes in."""
        return "bf16" if not self.name or float(self.capability) >= AMPERE else "fp16"

    @property
    def about(self) -> str:
        """The name and the memory."""
        return f"{self.name}, {self.memory / GIB:.1f} GiB" if self.name else "CPU, dry run"


@dataclass(frozen=True)
class Probe:
    """What `peers/probe.py` finds with one Python."""

    python: str
    system: str
    driver: str
    versions: dict[str, str]
    cuda: str | None
    cards: list[dict[str, str | int]]
    problem: str = ""


@dataclass(frozen=True)
class Environment:
    """A Python with a contender, and what it has; without a Python, why there is none, and whether that may change."""

    python: Path | None
    versions: dict[str, str] = field(default_factory=dict)
    missing: str = ""
    try_again: bool = False


def probe(python: Path) -> Probe:
    """Ask a Python.

    Raises:
        FrameworkError: it does not answer.
    """
    try:
        process = subprocess.run(  # noqa: S603 - our own script
            [str(python), str(PEERS / "probe.py")], capture_output=True, text=True, timeout=SECONDS, check=True
        )
        return Probe(**json.loads(process.stdout.splitlines()[-1]))
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, TypeError) as error:
        raise FrameworkError(f"{python} cannot be asked for its GPU: {summarize_error(error)}") from error


def chosen(machine: Probe, command: str, otherwise: str) -> Card:
    """Return the GPU to use, the first of several equal ones. `otherwise` says what can be done without one.

    Raises:
        FrameworkError: there is none, its driver is too old, or different GPUs are visible.
    """
    torch = f"torch {machine.versions.get('torch', '')}".strip()
    if machine.cuda is None and not machine.cards:
        problem = machine.problem or f"{torch} is built without CUDA"
        raise FrameworkError(f"{command} needs a CUDA GPU, and {problem}. On a machine with a GPU, install a torch "
                             f"that is built for CUDA. {otherwise}")  # fmt: skip
    if not machine.cards and TOO_OLD in machine.problem:
        raise FrameworkError(f"{command}: the driver {machine.driver} is too old for {torch}, which is built for CUDA "
                             f"{machine.cuda}. Update the driver, or install a torch for an older CUDA")  # fmt: skip
    if not machine.cards:
        hidden = f" with {VISIBLE}={os.environ[VISIBLE]}" if VISIBLE in os.environ else ""
        driver = f"driver {machine.driver}" if machine.driver else "no NVIDIA driver"
        raise FrameworkError(f"{command} needs a CUDA GPU, and {torch} sees none{hidden} ({driver}"
                             f"{'; ' if machine.problem else ''}{machine.problem}). {otherwise}")  # fmt: skip
    cards = [Card(str(device["name"]), int(device["memory"]), str(device["capability"])) for device in machine.cards]
    if len({(card.name, card.capability) for card in cards}) > 1:
        named = ", ".join(f"{index}: {card.about}" for index, card in enumerate(cards))
        raise FrameworkError(
            f"{command} uses one GPU, and different ones are visible ({named}): put {VISIBLE}=0 before the command"
        )
    return cards[0]
