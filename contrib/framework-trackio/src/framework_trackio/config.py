"""Options of `logger.trackio`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Len

from framework.api import LoggerConfig


@dataclass
class TrackioConfig(LoggerConfig):
    """trackio: runs side by side in a dashboard on this machine. If it fails, the run continues."""

    project: Annotated[str, Len(1)] = "framework"
    """The project: one database and one dashboard."""
    group: str | None = None
    """Groups runs, those of a sweep for example."""
    run_name: str | None = None
    """Default: the name and time of the run folder."""
    answers: Annotated[int, Ge(0)] = 100
    """How many prompts go into the table of answers, from the first. 0 leaves the table out."""
    system: bool = False
    """Also log the load of CPU and GPU, if psutil and nvidia-ml-py are installed."""
    system_interval: Annotated[float, Gt(0)] = 10.0
    """Seconds between two logs of the load."""
