"""What is told of the sweeper before a sweep starts."""

from pathlib import Path

import pytest

from framework import FrameworkError
from framework.diagnose import check_sweep

OPTUNA = ["-m", "hydra/sweeper=optuna5", "trainer.learning_rate=interval(1e-5,1e-3)"]


@pytest.mark.parametrize(
    ("word", "valid"),
    [
        ("hydra.sweeper.n_trials=0", "a whole number above 0"),
        ("hydra.sweeper.n_jobs=0", "a whole number above 0, or null"),
        ("hydra.sweeper.n_startup_trials=-1", "a whole number of at least 0"),
        ("hydra.sweeper.reduction_factor=1", "a whole number of at least 2"),
        ("hydra.sweeper.seed=-1", "a whole number from 0 to below 2147483648, or null"),
        ("hydra.sweeper.storage=", "text that is not empty, or null"),
    ],
)
def test_a_setting_out_of_its_range_is_told_with_what_is_valid(word: str, valid: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep([*OPTUNA, word])
    assert str(caught.value) == f"{word} must be {valid}"


def test_a_setting_that_is_none_is_told() -> None:
    with pytest.raises(FrameworkError, match=r"^\+hydra\.sweeper\.n_trails=4: unknown key 'hydra\.sweeper\.n_trails'"):
        check_sweep([*OPTUNA, "+hydra.sweeper.n_trails=4"])


def test_a_variable_that_is_not_set_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STUDY", raising=False)
    with pytest.raises(FrameworkError, match="Environment variable 'STUDY' not found"):
        check_sweep([*OPTUNA, "hydra.sweeper.storage=${oc.env:STUDY}"])


def test_a_setting_of_a_file_is_told_with_its_line_beside_the_other_mistakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    yaml = "# @package _global_\ndefaults: [override /hydra/sweeper: optuna5]\nhydra:\n  sweeper:\n    n_trials: 0\n"
    (tmp_path / "conf" / "experiment" / "few.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "+experiment=few", "trainer.learning_rate=interval(0.1,2)"])
    assert str(caught.value).splitlines() == [
        "conf/experiment/few.yaml:5: hydra.sweeper.n_trials=0 must be a whole number above 0",
        "trainer.learning_rate=2.0: trainer.learning_rate=2 must be a number above 0, up to 1",
    ]


def test_the_sweeper_of_lists_names_the_one_for_intervals() -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "trainer.learning_rate=tag(log,interval(1e-5,1e-3))", "seed=1,2"])
    assert str(caught.value) == (
        "trainer.learning_rate=tag(log,interval(1e-5,1e-3)): an interval has no end of values: give some, "
        "trainer.learning_rate=1e-05,0.001, or choose hydra/sweeper=optuna5"
    )
