"""How progress is displayed: bars in a terminal, lines in a pipe.

`counting` of `framework.api` counts. A run sends its counts to its loggers; any other command shows them on
standard error, with `Counts`. This module imports rich's progress bars, so import it only where something is shown.
"""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Display
from rich.text import Text

from framework.api.records import Progress
from framework.api.text.progress import Lines
from framework.util.redact import redact

__all__ = ["Bars", "Counts"]


class Bars:
    """Progress bars. The bar of the training steps stays at the end; the bar of any other count vanishes.

    Args:
        out: the terminal.
        steps: whether there will be steps.
    """

    def __init__(self, out: Console, *, steps: bool) -> None:
        self.display = Display(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeColumn(),
            console=out,
            transient=not steps,
        )
        self._steps: TaskID | None = None
        self._count: TaskID | None = None
        self._counted = 0.0
        self.display.start()

    def move(self, step: int, total: int, text: str, left: float) -> None:
        """Show the number of completed steps, with a text beside it and the seconds that are left."""
        line = f"step {step}/{total}"
        if self._steps is None:
            self._steps = self.display.add_task(line, total=total, text=text, time=None)
        remaining = Remaining(left, is_left=True)
        self.display.update(self._steps, completed=step, total=total, description=line, text=text, time=remaining)

    def count(self, progress: Progress) -> None:
        """Show how far something is; a new count replaces the previous one."""
        if progress.seconds < self._counted or progress.done == progress.total:
            self._end_count()
        self._counted = progress.seconds
        if progress.done == progress.total:
            return
        line = escape(str(redact(progress.line)))
        if self._count is None:
            self._count = self.display.add_task(line, total=progress.total, text="", time=None)
        seconds_left = progress.seconds_left
        remaining = Remaining(
            progress.seconds if seconds_left is None else seconds_left, is_left=seconds_left is not None
        )
        completed = progress.done if progress.share is None else progress.share * (progress.total or 0)
        self.display.update(self._count, completed=completed, total=progress.total, description=line, time=remaining)

    def _end_count(self) -> None:
        if self._count is not None:
            self.display.remove_task(self._count)
            self._count = None

    def stop(self) -> None:
        """Leave the bar of the steps as it is, and release the terminal."""
        self._end_count()
        self.display.stop()


class Remaining:
    """The seconds that are left or, if that is unknown, those that have passed; both follow the clock."""

    def __init__(self, seconds: float, *, is_left: bool) -> None:
        self._seconds, self._is_left, self._at = seconds, is_left, time.monotonic()

    def __str__(self) -> str:
        since = time.monotonic() - self._at
        if self._is_left:
            return f"{Progress.clock(max(0.0, self._seconds - since))} left"
        return f"{Progress.clock(self._seconds + since)} so far"


class TimeColumn(ProgressColumn):
    """The time of a task. rich's own column forgets the speed of tasks slower than one item in 30 seconds."""

    def render(self, task: Task) -> Text:
        """Write it as minutes and seconds."""
        return Text(str(task.fields["time"] or ""), style="cyan")


class Counts:
    """Shows what a command counts, on standard error: a bar in a terminal, a line now and then in a pipe."""

    def __init__(self) -> None:
        self._out = Console(stderr=True, highlight=False)
        self._bars: Bars | None = None
        self._lines = Lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def show(self, progress: Progress) -> None:
        """Show how far something is."""
        if Lines.are_replaced(self._out):
            if self._bars is None:
                self._bars = Bars(self._out, steps=False)
            self._bars.count(progress)
            if progress.done == progress.total:  # what comes next may be an answer
                self.__exit__(None, None, None)
        elif self._lines.is_due(progress):
            print(redact(progress.timed_line), file=sys.stderr, flush=True)
