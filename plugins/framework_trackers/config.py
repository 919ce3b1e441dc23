"""Options of `logger=`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from annotated_types import Ge, Gt

from framework.schema import LoggerConfig


class WandbMode(Enum):
    """Where W&B writes; auto is online with a key and a network, else offline."""

    auto = "auto"
    online = "online"
    offline = "offline"


@dataclass
class ConsoleConfig(LoggerConfig):
    """The terminal: plan, progress, answers side by side, closing table."""

    samples: Annotated[int, Ge(0)] = 5
    """How many prompts to show with the answers before and after."""


@dataclass
class JsonlConfig(LoggerConfig):
    """One JSON object a line in the run folder."""

    file: str = "log.jsonl"
    """Name of the file inside the run folder."""


@dataclass
class WandbConfig(LoggerConfig):
    """Weights & Biases. Its failure never ends a run."""

    project: str = "framework"
    """The project."""
    entity: str | None = None
    """The team or user; default: the key's own."""
    group: str | None = None
    """Puts runs together, those of a sweep for example."""
    run_name: str | None = None
    """Default: the name and time of the run folder."""
    tags: list[str] = field(default_factory=list)
    """Words to filter by."""
    notes: str | None = None
    """A sentence on what this run is for."""
    mode: WandbMode = WandbMode.auto
    """auto, online or offline."""
    init_timeout: Annotated[float, Gt(0)] = 8.0
    """Seconds to wait for the server before going on offline."""
