"""What happens around each stage of a run: its result is saved, its time is taken, and its events are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from framework.api.events import StageFinished, StageStarted
from framework.api.schema import Stage
from framework.run.events import Events
from framework.rundir.folder import WritableRunFolder

T = TypeVar("T")


class Stages:
    """Runs one stage after the other: `with stages.run(Stage.train): trained = stages.save(train(…))`.

    Attributes:
        seconds: how long each completed stage took.
    """

    def __init__(self, run_dir: Path, events: Events) -> None:
        self.seconds: dict[str, float] = {}
        self._folder = WritableRunFolder(run_dir)
        self._events = events
        self._stage = Stage.plan
        self._result: Any = None
        self._saved: float | None = None

    @contextmanager
    def run(self, stage: Stage) -> Iterator[None]:
        """Send that a stage starts and, unless it raises, that it is complete; it lasts until its result is saved."""
        self._stage, self._result, self._saved = stage, None, None
        self._events.send(StageStarted(stage))
        start = time.perf_counter()
        yield
        end = time.perf_counter() if self._saved is None else self._saved
        self.seconds[stage.value] = seconds = round(end - start, 3)
        self._events.send(StageFinished(stage, self._result, seconds))

    def save(self, result: T) -> T:
        """Save the result of the running stage, replacing an earlier or partial one, and return it."""
        self._result = self._folder.save(self._stage, result)
        self._saved = time.perf_counter()
        return result
