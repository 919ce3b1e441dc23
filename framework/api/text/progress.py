"""How far something is, in a line."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from framework.api.records import Progress

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Lines"]

PAUSE, LONGEST_PAUSE = 10.0, 60.0
"""Seconds between two lines of a count without a terminal: at least, and at most. Shorter work prints none."""


class Lines:
    """When a count gets a line if no bar can be drawn: after each tenth of the work, and once a minute.

    Attributes:
        said: when the last line was printed.
    """

    def __init__(self) -> None:
        self.said = time.monotonic()
        self._milestone = ("", 0)

    def is_due(self, progress: Progress, pause: float = PAUSE) -> bool:
        """Whether a line is printed now, which is noted."""
        share = progress.done / (progress.total or 1) if progress.share is None else progress.share
        milestone, now = (progress.task, int(10 * share)), time.monotonic()
        wait = pause if milestone != self._milestone else max(pause, LONGEST_PAUSE)
        if progress.done == progress.total or now - self.said < wait:
            return False
        self.said, self._milestone = now, milestone
        return True

    @staticmethod
    def are_replaced(out: Console) -> bool:
        """Whether a bar can be drawn; with FORCE_COLOR, which notebooks and CI set, rich calls a pipe a terminal."""
        return out.is_terminal and (out.file.isatty() or not os.environ.get("FORCE_COLOR"))
