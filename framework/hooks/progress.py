"""How far long work is: whoever does it counts, and the run sends what is counted to its loggers.

    with counting(len(prompts), "prompt") as counter:
        for prompt in prompts:
            ...
            counter.advance()

The work may be in a plugin that knows nothing of a run. If there is no run, nothing is sent. What is counted is
sent when it begins, about once a second, and when it is complete.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from framework.api.records import Progress

REPORT_SECONDS = 1.0
"""Seconds between two reports of one count."""


class Reporter:
    """Where the counts of a process go; the session holds one.

    Attributes:
        send: gets each report; None if nobody listens.
    """

    def __init__(self) -> None:
        self.send: Callable[[Progress], None] | None = None
        self._part = Progress("", "", 0, None, 0.0)

    @contextmanager
    def part(self, name: str, position: int, count: int, kind: str) -> Iterator[None]:
        """Inside, what is counted belongs to a part: the measure `name`, the second of four."""
        before = self._part
        self._part = replace(before, task=name, part=position, parts=count, kind=kind)
        try:
            yield
        finally:
            self._part = before

    @contextmanager
    def counting(self, total: int | None, unit: str, task: str = "") -> Iterator[Counter]:
        """Count up to `total`, None if nobody knows it.

        Args:
            total: how many there are.
            unit: what is counted, in the singular: `prompt`.
            task: what is done, after the name of the part: `converting`.
        """
        part = self._part
        name = ": ".join(text for text in (part.task, task) if text)
        counter = Counter(self.send, replace(part, task=name, unit=unit, total=total))
        counter.begin()
        yield counter
        # Not in a `finally`: work that raised is not complete.
        counter.finish()


class Counter:
    """A running count. Use it only in the thread that made it."""

    def __init__(self, send: Callable[[Progress], None] | None, progress: Progress) -> None:
        self._send, self._now = send, progress
        # `time.time` jumps when the clock is set.
        self._started = self._sent = self._moved = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether a report would be sent now: what is costly to count need not be counted before."""
        return self._send is not None and time.monotonic() - self._sent >= REPORT_SECONDS

    def advance(self, number: int = 1) -> None:
        """Count some more."""
        self.move(self._now.done + number)

    def move(self, done: int, detail: str = "", share: float | None = None) -> None:
        """Set how many are done; `detail` says how far the next ones are, and the share of the whole with these."""
        if done != self._now.done:
            self._moved = time.monotonic()
        self._now = replace(self._now, done=done, detail=detail, share=share)
        if self.is_due:
            self._report()

    def begin(self) -> None:
        """Report that the count begins."""
        self._report()

    def finish(self) -> None:
        """Report that all is done."""
        total = self._now.done if self._now.total is None else self._now.total
        self._now = replace(self._now, done=total, total=total, detail="", share=None)
        self._report()

    def _report(self) -> None:
        if self._send is not None:
            self._sent = time.monotonic()
            # Two times: a rate is computed up to the last one that was counted, not up to the report.
            seconds, done = (round(moment - self._started, 3) for moment in (self._sent, self._moved))
            self._send(replace(self._now, seconds=seconds, seconds_done=done))
