"""Impossible settings of health and early stopping are reported before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.run import pipeline


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["health.nan=lower"],
            "health.nan=lower: weights that are NaN stay so at any learning rate. Set warn or",
        ),
        (["health.truncated_answers=lower"], "a lower learning rate does not teach the stop token. Set warn or stop"),
        (["health.lower_to=1"], "health.lower_to=1 must be a number above 0 and below 1"),
        (["trainer.early_stopping_metric=exact_mach"], "unknown metric 'exact_mach'. Did you mean 'exact_match'"),
        (
            ["trainer.early_stopping_metric=json_valid"],
            "is not one of the run's metrics: set metric=[exact_match,token_f1,tool_calls,json_valid]",
        ),
        (
            ["trainer.early_stopping_metric=exact_match", "evaluator=[]"],
            "needs an evaluator, but none is chosen: set evaluator=[prompts]",
        ),
        (
            ["trainer.early_stopping_metric=exact_match", "trainer.keep_best=false"],
            "has no effect: set trainer.keep_best=true or trainer.early_stopping_patience=2",
        ),
        (["trainer.early_stopping_patience=0"], "trainer.early_stopping_patience=0 must be a whole number above 0"),
        (["trainer.eval_steps=0"], "trainer.eval_steps=0 must be a whole number above 0"),
    ],
)
def test_a_mistake_is_reported_with_what_is_valid(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        testing.plan(words, run_dir=tmp_path)
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trainer.early_stopping_patience=2"], "needs validation rows, but there are none: set data.validation_split"),
        (["trainer.early_stopping_metric=exact_match"], "needs prompts, but there are none: set data.validation_split"),
    ],
)
def test_what_the_data_lack_is_reported_before_the_model_is_asked(
    data_file: Path, tmp_path: Path, words: list[str], told: str
) -> None:
    data = ["data=local_file", f"data.path={data_file}", "data.validation_split=0", "objective=train_loss"]
    with pytest.raises(FrameworkError, match=told):
        pipeline.run(testing.plan([*data, *words], run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert pipeline.run(testing.plan([*data, *words, "stages=[data,baseline]"], run_dir=tmp_path / "run")) is None
