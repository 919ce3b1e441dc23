"""How far a stage is."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is.

    Attributes:
        task: what is done: the name of the measure or of the exporter, and which step of it.
        unit: what is counted, in the singular: `prompt`.
        done: how many are done.
        total: how many there are; None if unknown.
        seconds: since the count began.
        seconds_done: of these, until `done` last changed; in work that is done in batches, it does not change within a
            batch.
        part: which of the `parts` this is, from 1; 0 if there is only one.
        parts: how many measures or exporters the stage has.
        kind: what the parts are: `measure`, `exporter`.
        detail: how far the current item is: `token 120 of at most 256`.
        share: of the whole, from 0 to 1, including the current item; None if `done` says it.
    """

    task: str
    unit: str
    done: int
    total: int | None
    seconds: float
    part: int = 0
    parts: int = 0
    kind: str = ""
    seconds_done: float | None = None
    detail: str = ""
    share: float | None = None

    @property
    def place(self) -> str:
        """Which of the parts it is, `measure 2 of 4`; empty if there is only one."""
        return f"{self.kind} {self.part} of {self.parts}" if self.parts > 1 else ""

    @property
    def line(self) -> str:
        """All of it in one line: `prompts: prompt 7 of 60, measure 2 of 4`."""
        counted = f"{self.unit} {self.done:,} of {self.total:,}" if self.total else ""
        if self.total is None and self.unit and self.done:
            counted = f"{self.unit} {self.done:,}"
        title = ": ".join(text for text in (self.task, counted) if text)
        return ", ".join(text for text in (title, self.detail, self.place) if text)

    @property
    def timed_line(self) -> str:
        """The line with the time that is left: `prompts: prompt 7 of 60, measure 2 of 4  0:32 left`."""
        remaining = self.seconds_left
        return self.line if remaining is None else f"{self.line}  {self.clock(remaining)} left"

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the speed so far; None if nothing is done yet, or the total is unknown.

        Also None if the current item takes longer than all of the rest should.
        """
        if self.done == self.total:
            return 0.0
        if self.share:
            return self.seconds / self.share * (1 - self.share)
        if not self.done or not self.total:
            return None
        until = self.seconds if self.seconds_done is None else self.seconds_done
        remaining = until / self.done * (self.total - self.done) - (self.seconds - until)
        return remaining if remaining >= 0 else None

    @staticmethod
    def clock(seconds: float) -> str:
        """Write a duration: `0:32`, `1:02:03`."""
        minutes, remainder = divmod(round(seconds), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{remainder:02d}" if hours else f"{minutes}:{remainder:02d}"
