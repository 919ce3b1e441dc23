"""The monitor on a real model: the quickstart, which is healthy, and the same with a rate that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework.api import records
from framework.api.records import TrainResult
from framework.config.check import check
from framework.config.compose import compose
from framework.plan.make import make_plan
from framework.run import pipeline

LOUD = {"exploding_gradient", "oscillation", "rising_loss", "spike", "nan", "plateau"}
"""What a rate that is a hundred times too high may look like; which of them shows is chance."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "allowed"),
    [("5e-4", set()), ("0.2", LOUD)],
    ids=["the quickstart", "far too high"],
)
def test_a_rate_that_teaches_nothing_is_named_and_one_that_does_is_not(
    tmp_path: Path, rate: str, allowed: set[str]
) -> None:
    words = ["evaluator=[]", "metric=[]", "exporter=[]", "logger=[]", "stages=[data,train]"]
    config = compose(["+experiment=quickstart", *words, f"trainer.learning_rate={rate}"])
    check(config)
    pipeline.run(make_plan(config, run_dir=tmp_path / "run"))
    trained = records.load(TrainResult, tmp_path / "run" / "train.json")
    print(rate, [f"{issue.step}: {issue.text}" for issue in trained.issues], trained.last_loss)  # noqa: T201
    found = {issue.kind for issue in trained.issues}
    assert found <= allowed
    assert bool(found) is bool(allowed)
