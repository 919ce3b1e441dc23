"""An override that would take minutes to read, or to list, is refused with the limit that it exceeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.cli.arguments import readable
from framework.config.limits import check_file, check_words
from framework.rundir.folder import saved_overrides
from framework.sweep.check import check_sweep


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (f"name={'x' * 20_000}", "name=… has 20,005 characters, more than 20,000"),
        (f"adapter.target_modules=[{'q,' * 1_000}q]", "has 1,001 values, more than 1,000"),
        (f"name={'[' * 5_000}", "name=… is nested more than 50 levels deep"),
        (f"seed={'int(' * 51}1{')' * 51}", "seed=… is nested more than 50 levels deep"),
        (f"seed={'9' * 4_301}", "seed=… has a number with more than 4,300 digits"),
    ],
    ids=["long", "many", "deep", "calls", "digits"],
)
def test_an_override_that_takes_minutes_to_read_is_refused(tmp_path: Path, word: str, told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        readable([word])
    file = tmp_path / "overrides.json"
    file.write_text(json.dumps([word]), encoding="utf-8")
    with pytest.raises(FrameworkError, match=f"{file}: .*{told}"):
        saved_overrides(str(tmp_path))


def test_a_long_text_with_commas_in_quotes_is_one_value() -> None:
    check_words(
        [
            f"format.system_prompt='Answer shortly, {', '.join(['[please'] * 1_500)}, it\\'s late.'",
            f"name='{'9' * 5_000}'",
        ]
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["seed=range(0,1e18)"], "seed=range(0,1e18): 1,000,000,000,000,000,000 values, more than the 10,000"),
        (["trainer.learning_rate=range(1,0,-1e-9)"], "1,000,000,000 values, more than the 10,000"),
        (["seed=range(0,9000)", "adapter.r=1,2"], "the sweep has 18,000 trials, more than 10,000"),
        (["seed=range(0,9000)", "adapter.r=1,2", "hydra/sweeper=optuna5", "hydra.sweeper.sampler=grid"], "18,000 tr"),
    ],
)
def test_a_sweep_with_too_many_trials_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        check_sweep(words)
    assert told in str(refused.value)


def test_a_search_samples_a_large_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.sweep.check.COMBINATIONS", 1)  # each is composed
    keys = ("adapter.r", "trainer.max_steps", "trainer.logging_steps", "data.max_rows", "seed")
    check_sweep(["stages=[plan]", "hydra/sweeper=optuna5", *(f"{key}=range(1,8)" for key in keys)])  # 16,807


def test_a_tag_that_its_value_has_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("seed: !!int '7'\ntrainer: {learning_rate: !!float 1e-3, max_steps: !!null}\n", encoding="utf-8")
    check_file(file)
