"""What tests of a training backend share: a model that is opened for a run, and trained in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from framework.api.data import Data
from framework.api.protocols import Backend, Model, TrainRun
from framework.api.records import Step, StepControl, TrainResult
from framework.testing.suites.base import ROWS, Rows, Suite


class Trained(Suite):
    """A suite that opens models and trains them."""

    group = "trainer"
    rows: ClassVar[Rows] = ROWS
    tolerance: ClassVar[float] = 1e-4

    @contextmanager
    def opened(self, folder: Path, *overrides: str) -> Iterator[tuple[Model, Data]]:
        """Open a model for a run in `folder/run`, with the data encoded."""
        from framework.data.stage import load_data  # noqa: PLC0415 - numpy, which a check of a plugin does without

        with self.only_opened(folder, *overrides) as model:
            yield model, load_data(self.plan(folder, *overrides, rows=self.rows), model)

    @contextmanager
    def only_opened(self, folder: Path, *overrides: str) -> Iterator[Model]:
        """Open a model for a run in `folder/run`."""
        plan = self.plan(folder, *overrides, rows=self.rows)
        plan.run_dir.mkdir(parents=True, exist_ok=True)
        backend: Backend = plan.trainer.create()
        with backend.open(plan) as model:
            yield model

    def train(
        self, model: Model, data: Data, folder: Path, order: Callable[[Step], StepControl | None] | None = None
    ) -> tuple[TrainResult, list[Step]]:
        """Train into `folder/run/checkpoint`, as `order` says, and return the result and the steps that were sent."""
        steps: list[Step] = []

        def on_step(step: Step) -> StepControl | None:
            steps.append(step)
            return order(step) if order else None

        run = TrainRun(folder / "run" / "checkpoint", folder / "run" / ".trainer.part", on_step)
        return model.train(data.train_groups, data.validation_groups, run), steps

    def same(self, left: float, right: float) -> bool:
        """Whether two losses are the same within the tolerance."""
        return math.isclose(left, right, rel_tol=self.tolerance, abs_tol=self.tolerance)
