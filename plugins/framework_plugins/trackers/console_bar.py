"""The bar that a terminal shows during training; in a module of its own because most of rich hangs on it."""

from __future__ import annotations

from rich.console import Console as Terminal
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A bar of `total` steps, drawn until it is stopped."""

    def __init__(self, out: Terminal, total: int) -> None:
        self.progress = Progress(
            TextColumn("  step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=out,
        )
        self.task = self.progress.add_task("", total=total)
        self.progress.start()

    @property
    def completed(self) -> float:
        """How many steps it shows as done."""
        return self.progress.tasks[0].completed

    def move(self, step: int, text: str) -> None:
        """Show the number of completed steps, with the text beside it."""
        self.progress.update(self.task, completed=step, description=text)

    def stop(self) -> None:
        """Leave the bar as it stands and give the terminal back."""
        self.progress.stop()
