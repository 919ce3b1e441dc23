"""Seconds of the stages of a run, and who is told of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from framework.api.plan import Plan
from framework.api.schema import Stage
from framework.hooks.manager import notify
from framework.run.loggers import Broadcast


class Clock:
    """Seconds of each stage, and who is told that one starts or is through."""

    def __init__(self, plan: Plan, loggers: Broadcast) -> None:
        self.plan = plan
        self.loggers = loggers
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Tell the loggers that a stage starts, and time it."""
        self.loggers.stage_started(stage.value)
        with self.measure(stage):
            yield

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Time a stage."""
        start = time.perf_counter()
        yield
        self.seconds[stage.value] = round(time.perf_counter() - start, 3)

    def finished(self, stage: Stage, result: Any) -> None:
        """Tell the plugins that the result of a stage is saved."""
        seconds = self.seconds[stage.value]
        notify("framework_stage_finished", plan=self.plan, stage=stage, result=result, seconds=seconds)
