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
        seconds_done: of these, until `done` changed last; work that is done in batches stands between them.
        part: which of the `parts` this is, the first is 1; 0 if there is one alone.
        parts: how many measures or exporters the stage has.
        kind: what the parts are: `measure`, `exporter`.
        detail: how far what is in work is: `token 120 of at most 256`.
        share: of the whole, from 0 to 1, with what is in work; None where `done` says it.
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
        """Which of the parts it is, `measure 2 of 4`; empty if there is one alone."""
        return f"{self.kind} {self.part} of {self.parts}" if self.parts > 1 else ""

    @property
    def line(self) -> str:
        """All of it in one line: `prompts: prompt 7 of 60, measure 2 of 4`."""
        counted = f"{self.unit} {self.done:,} of {self.total:,}" if self.total else ""
        if self.total is None and self.unit and self.done:
            counted = f"{self.unit} {self.done:,}"
        what = ": ".join(text for text in (self.task, counted) if text)
        return ", ".join(text for text in (what, self.detail, self.place) if text)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the speed so far; None if nothing is done yet, or the number is not known.

        And None where what is in work takes longer than the whole rest should.
        """
        if self.done == self.total:
            return 0.0
        if self.share:
            return self.seconds / self.share * (1 - self.share)
        if not self.done or not self.total:
            return None
        until = self.seconds if self.seconds_done is None else self.seconds_done
        left = until / self.done * (self.total - self.done) - (self.seconds - until)
        return left if left >= 0 else None
