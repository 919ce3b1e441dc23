"""How far something is, in a line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from framework.api.records import Progress

if TYPE_CHECKING:
    from rich.console import Console

PAUSE = 10.0
"""Seconds between two lines of a count without a terminal; shorter work prints none."""


def told(progress: Progress) -> str:
    """Write how far something is: `prompts: prompt 7 of 60, measure 2 of 4  0:32 left`."""
    left = progress.seconds_left
    return progress.line if left is None else f"{progress.line}  {clock(left)} left"


def clock(seconds: float) -> str:
    """Write a duration: `0:32`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def is_animated(out: Console) -> bool:
    """Whether a bar can be drawn: with FORCE_COLOR, which notebooks and CI set, rich calls a pipe a terminal too."""
    return out.is_terminal and (out.file.isatty() or not os.environ.get("FORCE_COLOR"))
