"""Advice on a plan: rules of thumb of the field, each with its reason. Nothing is refused because of it."""

from __future__ import annotations

from collections.abc import Iterator

from framework.api.plan import Plan
from framework.api.records import Work
from framework.api.schema import Stage
from framework.api.text import count
from framework.hooks.manager import Plugins

MANY_ROWS, FEW_ROWS = 10_000, 200
"""Rows of which one pass teaches enough, and rows that have to be seen a few times."""
TWICE = 2
"""Epochs of which more are many for many rows, and fewer few for few."""
WARM_UP = 0.2
"""Share of the steps above which a warm-up replaces training."""


def advice(plan: Plan, work: Work | None, plugins: Plugins) -> Iterator[str]:
    """Give the advice of the core and of every plugin, one sentence each."""
    if Stage.train in plan.stages or plan.stages == (Stage.plan,):  # which asks about the whole run
        yield from _own(plan, work)
    yield from (text for _, text in plugins.ask("framework_advice", str, plan=plan, work=work))


def _own(plan: Plan, work: Work | None) -> Iterator[str]:
    data = plan.data.config
    own = ("validation_path", "validation_sets")
    if not data.validation_split and not any(getattr(data, name, None) for name in own):
        yield "data.validation_split=0 holds out no rows: overfitting will go unnoticed. Set data.validation_split=0.1"
    if work is None:
        return
    training = plan.training
    if work.rows >= MANY_ROWS and work.epochs > TWICE:
        yield (
            f"{count(work.epochs, 'epoch')} over {work.rows:,} rows: with that many rows one or two are enough, and "
            "more memorize them. Set trainer.num_train_epochs=1"
        )
    if work.rows < FEW_ROWS and work.epochs < TWICE and training.max_steps is None:
        yield (
            f"{count(work.epochs, 'epoch')} over {work.rows:,} rows are {work.steps} steps: so few rows have to be "
            "seen more than once. Set trainer.num_train_epochs=3"
        )
    warmup = training.warmup(work.steps)
    if warmup > WARM_UP * work.steps:
        few = max(1, round(0.05 * work.steps))
        below = "the training ends before it reaches the learning rate that you set"
        if warmup < work.steps:
            below = "much of the training would run below the learning rate that you set"
        if training.warmup_ratio is not None:
            yield f"trainer.warmup_ratio={training.warmup_ratio:g}: {below}. Set trainer.warmup_ratio=0.05"
            return
        yield f"trainer.warmup_steps={warmup} of {work.steps} steps: {below}. Set trainer.warmup_steps={few}"
