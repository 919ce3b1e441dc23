"""How far a stage is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a long piece of work is.

    Attributes:
        task: what is done: the name of the measure or of the exporter, and which step of it.
        unit: what is counted, in the singular: `prompt`.
        done: how many are done.
        total: how many there are; None where nobody knows.
        seconds: since the count began.
        part: which of the `parts` this is, the first is 1; 0 if there is one alone.
        parts: how many measures or exporters the stage has.
        kind: what the parts are: `measure`, `exporter`.
    """

    task: str
    unit: str
    done: int
    total: int | None
    seconds: float
    part: int = 0
    parts: int = 0
    kind: str = ""

    @property
    def place(self) -> str:
        """Which of the parts it is, `measure 2 of 4`; empty if there is one alone."""
        return f"{self.kind} {self.part} of {self.parts}" if self.parts > 1 else ""

    @property
    def line(self) -> str:
        """All of it in one line: `prompts: prompt 7 of 60, measure 2 of 4`."""
        counted = f"{self.unit} {self.done:,} of {self.total:,}" if self.total else ""
        if self.total is None and self.unit and self.done:
            counted = f"{self.unit} {self.done:,}"
        what = ": ".join(text for text in (self.task, counted) if text)
        return ", ".join(text for text in (what, self.place) if text)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the speed so far; None as long as nothing is done, or the number is not known."""
        return self.seconds / self.done * (self.total - self.done) if self.done and self.total else None
