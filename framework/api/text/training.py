"""Human-readable course of a training. Every logger renders these facts in its own format."""

from __future__ import annotations

from collections.abc import Iterator

from framework.api.records import TrainResult
from framework.api.schema import TrainerConfig
from framework.api.text.results import Fact, number


def health_facts(train: TrainResult, training: TrainerConfig) -> Iterator[Fact]:
    """Say which run trained, why it ended early, which weights are kept, and what was wrong.

    What did not occur is left out.
    """
    if train.taken_from:
        yield Fact("trained in", f"{train.taken_from}, whose training has the same settings")
    if train.stopped:
        yield Fact("ended early", train.stopped, amiss=True)
    if train.best_step is not None:
        name = training.early_stopping_metric
        outcome = "its weights are kept" if training.keep_best else "the weights are those of the last step"
        yield Fact("best", f"step {train.best_step}: {name} {number(train.best_value, name)}; {outcome}")
    if train.issues:
        kinds = ", ".join(f"{issue.kind} at step {issue.step}" for issue in train.issues)
        yield Fact("issues", kinds, tuple(issue.line for issue in train.issues), amiss=True)
