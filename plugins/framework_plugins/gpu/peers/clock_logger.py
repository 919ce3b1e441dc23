"""`logger=[clock]`, for this benchmark: when the steps of a run began and ended, in seconds since 1970."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from framework import Component, hookimpl
from framework.api import Event, Logger, LoggerConfig, RunStarted, TrainingStep


@dataclass
class ClockConfig(LoggerConfig):
    """Writes result.json."""

    file: str = "result.json"
    """Its name within the run folder."""


class Clock(Logger):
    """Takes the time."""

    def __init__(self, config: ClockConfig) -> None:
        self.config = config
        self.ends: list[float] = []
        self.losses: list[float] = []
        self.start = 0.0
        self.run_dir = Path()
        self.tokens = 0

    def log(self, event: Event) -> None:
        """Remember where to write, and the end of each step; the first tells when training began."""
        match event:
            case RunStarted(plan, data):
                self.run_dir, self.tokens = plan.run_dir, data.tokens
            case TrainingStep(step):
                self.ends.append(step.seconds)
                self.losses.append(step.loss)
                if len(self.ends) == 1:
                    self.start = time.time() - step.seconds

    def close(self) -> None:
        """Write."""
        seconds = [after - before for before, after in pairwise([0.0, *self.ends])]
        torch = sys.modules.get("torch")
        on_gpu = torch is not None and torch.cuda.is_initialized()
        reserved = torch.cuda.max_memory_reserved() if torch is not None and on_gpu else 0
        result = {
            "first_step": self.start, "seconds": seconds, "losses": self.losses, "tokens": self.tokens,
            "gpu_reserved": reserved,
        }  # fmt: skip
        (self.run_dir / self.config.file).write_text(json.dumps(result), encoding="utf-8")


@hookimpl
def framework_components() -> Iterable[Component]:
    """The clock."""
    yield Component("clock", ClockConfig, f"{__name__}:Clock")
