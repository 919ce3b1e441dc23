"""The bars that a terminal shows; in a module of its own because most of rich hangs on it."""

from __future__ import annotations

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.text import Text

from framework.api import records
from framework_plugins.trackers.console_training import clock


class Bars:
    """The steps of a training, which stay when it is over, and what else is counted, which vanishes when it is done.

    Args:
        out: the terminal.
        steps: whether there will be steps.
    """

    def __init__(self, out: Terminal, *, steps: bool) -> None:
        self.progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            TimeColumn(),
            console=out,
            transient=not steps,
        )
        self._steps: TaskID | None = None
        self._count: TaskID | None = None
        self.progress.start()

    @property
    def completed(self) -> float:
        """How many steps are shown as done."""
        return next((task.completed for task in self.progress.tasks if task.id == self._steps), 0)

    def move(self, step: int, total: int, text: str) -> None:
        """Show the number of completed steps, with the text beside it."""
        if self._steps is None:
            self._steps = self.progress.add_task("", total=total, text="")
        self.progress.update(self._steps, completed=step, description=f"step {step}/{total}", text=text)

    def count(self, progress: records.Progress) -> None:
        """Show how far something is; a count that begins takes the place of the one before."""
        if not progress.done and self._count is not None:
            self.progress.remove_task(self._count)
            self._count = None
        if self._count is None:
            self._count = self.progress.add_task("", total=progress.total, text="")
        shown = Text(progress.line)
        self.progress.update(self._count, completed=progress.done, total=progress.total, description=shown.markup)
        if progress.done == progress.total:
            self.progress.remove_task(self._count)
            self._count = None

    def stop(self) -> None:
        """Leave the steps as they stand and give the terminal back."""
        if self._count is not None:
            self.progress.remove_task(self._count)
            self._count = None
        self.progress.stop()


class TimeColumn(ProgressColumn):
    """The time that is left; where nobody knows it, the time that has passed."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        """Write it as minutes and seconds."""
        left = task.time_remaining
        seconds = task.elapsed if left is None else left
        if seconds is None:
            return Text("")
        return Text(f"{clock(seconds)} {'so far' if left is None else 'left'}", style="cyan")
