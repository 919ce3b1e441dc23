"""Runs of the HF backend on a tiny model, opened and trained inside a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from framework import Plan, testing
from framework.api import Data, Step, TrainResult
from framework.api.program import load_data, make_plan
from framework.api.training import TrainRun
from framework_plugins.hf.backend import HFBackend
from framework_plugins.hf.model import HFModel


def make(base: Path, rows: Path, run_dir: Path, *more: str) -> Plan:
    """Plan four steps with a model and rows that lie there."""
    config = testing.compose(
        [
            "model=local", f"model.path={base}", "data=local_file", f"data.path={rows}", "logger=[]",
            "trainer.dtype=fp32", "trainer.max_steps=4", "trainer.warmup_steps=1", "trainer.learning_rate=0.01",
            *([] if "adapter=full" in more else ["adapter.r=4"]), *more,
        ]
    )  # fmt: skip
    return make_plan(config, run_dir=run_dir)


@contextmanager
def opened(plan: Plan) -> Iterator[tuple[HFModel, Data]]:
    """Open the model of a plan and load its data."""
    with HFBackend(plan.trainer.config).open(plan) as model:
        yield model, load_data(plan, model)


def train(model: HFModel, data: Data, folder: Path, steps: list[Step] | None = None) -> tuple[TrainResult, list[Step]]:
    """Train into `folder`; `steps` grows meanwhile."""
    steps = [] if steps is None else steps
    run = TrainRun(folder / "checkpoint", folder / "scratch", steps.append)
    return model.train(data.train_groups, data.validation_groups, run), steps
