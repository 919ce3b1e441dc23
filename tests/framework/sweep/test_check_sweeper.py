"""Errors in the sweeper's settings are reported before a sweep starts."""

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.sweep.check import check_sweep

OPTUNA = ["-m", "hydra/sweeper=optuna5", "trainer.learning_rate=interval(1e-5,1e-3)"]


@pytest.mark.parametrize(
    ("word", "valid"),
    [
        ("hydra.sweeper.n_trials=0", "a whole number above 0"),
        ("hydra.sweeper.n_jobs=0", "a whole number above 0, or null"),
        ("hydra.sweeper.n_startup_trials=-1", "a whole number of at least 0"),
        ("hydra.sweeper.reduction_factor=1", "a whole number of at least 2"),
        ("hydra.sweeper.seed=-1", "a whole number from 0 to below 2147483648, or null"),
        ("hydra.sweeper.storage=''", "text that is not empty, or null"),
    ],
)
def test_a_setting_out_of_its_range_is_reported_with_what_is_valid(word: str, valid: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep([*OPTUNA, word])
    assert str(caught.value) == f"{word} must be {valid}"


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "hydra.sweeper.n_trails=4",
            "unknown key 'hydra.sweeper.n_trails'. Did you mean 'hydra.sweeper.n_trials'? Valid ",
        ),
        (
            "+hydra.sweeper.n_trails=4",
            "unknown key 'hydra.sweeper.n_trails'. Did you mean 'hydra.sweeper.n_trials'? Valid ",
        ),
        ("hydra.sweeper.n_trials=few", "must be a whole number above 0"),
        ("hydra.sweeper.sampler=tpee", "must be one of tpe, random, grid, cmaes. Did you mean 'tpe'?"),
    ],
)
def test_a_setting_that_cannot_be_is_reported_with_the_nearest_before_the_trials(word: str, told: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep([*OPTUNA, word, "trainer.warmup_steps=-1,-2"])
    (line,) = str(caught.value).splitlines()
    assert line.startswith((f"{word}: {told}", f"{word} {told}"))
    assert "_target_" not in str(caught.value)


def test_a_setting_of_another_sweeper_or_launcher_is_reported_with_those_of_the_chosen_one() -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "seed=1,2", "hydra.sweeper.n_trials=4", "hydra/launcher=joblib", "hydra.launcher.n_job=2"])
    first, second = str(caught.value).splitlines()
    told = "unknown key 'hydra.sweeper.n_trials'. Valid in hydra.sweeper: max_batch_size, params."
    assert first == f"hydra.sweeper.n_trials=4: {told}"
    assert second.startswith(
        "hydra.launcher.n_job=2: unknown key 'hydra.launcher.n_job'. Did you mean 'hydra.launcher.n_jobs'? Valid "
    )


def test_a_variable_that_is_not_set_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY", raising=False)
    with pytest.raises(FrameworkError, match="Environment variable 'STUDY' not found"):
        check_sweep([*OPTUNA, "hydra.sweeper.storage=${oc.env:STUDY}"])


def test_a_setting_of_a_file_is_reported_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    yaml = "# @package _global_\ndefaults: [override /hydra/sweeper: optuna5]\nhydra:\n  sweeper:\n    n_trials: 0\n"
    (tmp_path / "conf" / "experiment" / "few.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "+experiment=few", "trainer.learning_rate=interval(0.1,2)"])
    assert str(caught.value).splitlines() == [
        "conf/experiment/few.yaml:5: hydra.sweeper.n_trials=0 must be a whole number above 0",
    ]


def test_the_sweeper_of_lists_names_the_one_for_intervals() -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "trainer.learning_rate=tag(log,interval(1e-5,1e-3))", "seed=1,2"])
    assert str(caught.value) == (
        "trainer.learning_rate=tag(log,interval(1e-5,1e-3)): an interval has infinitely many values: list some, or "
        "choose hydra/sweeper=optuna5"
    )
