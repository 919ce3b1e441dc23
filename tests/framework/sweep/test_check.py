"""A sweep is checked before it starts: every value once, whichever key it belongs to, and some combinations."""

import pickle
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.config.compose import config_loader
from framework.sweep.check import COMBINATIONS, check_sweep, trials


def looked_at(*words: str) -> list[list[str]]:
    with config_loader() as loader:
        return trials(loader, words)[0]


def test_every_value_is_looked_at_however_many_points_there_are() -> None:
    chosen = looked_at("seed=range(0,33)", "trainer.learning_rate=1e-4,7", "adapter.r=4")
    assert {word for point in chosen for word in point} == {
        *(f"seed={number}" for number in range(33)),
        "trainer.learning_rate=0.0001",
        "trainer.learning_rate=7",
        "adapter.r=4",
    }
    assert len(chosen) <= 33 + COMBINATIONS


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["stages=[train]"], "objective=verdict.primary is not known at the end of a trial without the stages evaluate "
         "and report: set stages=[train,evaluate,report]"),
        (["stages=[data,train]", "objective=train_loss"], "objective=train_loss is not known at the end of a trial "
         "without the stage report: set stages=[data,train,report]"),
        (["stages=[train,evaluate,report]", "objective=verdict.score"], "without the stage baseline: set "
         "stages=[baseline,train,evaluate,report]"),
        (["objective=verdict.score", "evaluator=[]"], "objective=verdict.score comes from what evaluators measure"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_measure_its_objective_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        check_sweep(["adapter.r=1,2", *words])
    assert told in str(refused.value)


@pytest.mark.parametrize("words", ["stages=[plan]", "stages=[data]", "stages=[train,report] objective=train_loss"])
def test_a_sweep_that_only_looks_or_measures_enough_is_none(words: str) -> None:
    check_sweep(["adapter.r=1,2", *words.split()])


def test_slurm_without_slurm_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FrameworkError) as refused:
        check_sweep(["hydra/launcher=submitit_slurm", "seed=1,2", "stages=[plan]"])
    assert str(refused.value).startswith("hydra/launcher=submitit_slurm needs Slurm, whose command srun is not on this")
    assert "\n" not in str(refused.value)


def test_a_plain_run_is_one_point() -> None:
    assert looked_at("seed=1") == [["seed=1"]]


def test_of_an_interval_both_ends_are_looked_at() -> None:
    assert looked_at("seed=1", "trainer.learning_rate=tag(log,interval(1e-5,1))", "adapter.r=int(interval(4,64))") == [
        ["seed=1", "trainer.learning_rate=1e-05", "adapter.r=4"],
        ["seed=1", "trainer.learning_rate=1.0", "adapter.r=64"],
    ]


def test_values_of_lists_are_not_combined_with_the_far_end_of_an_interval() -> None:
    chosen = looked_at("adapter.r=4,8,16", "seed=1,2", "trainer.learning_rate=interval(0.1,0.2)")
    assert len(chosen) == 3 + 4
    assert sum("trainer.learning_rate=0.2" in point for point in chosen) == 1


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            "trainer.learning_rate=interval(0,0.1)",
            "trainer.learning_rate=interval(0,0.1): trainer.learning_rate=0 must be a number above 0, up to 1",
        ),
        (
            "trainer.learning_rate=interval(0.1,7)",
            "trainer.learning_rate=interval(0.1,7): trainer.learning_rate=7 must be a number above 0, up to 1",
        ),
        ("trainer.logging_steps=int(interval(-1,7))", "trainer.logging_steps=-1 must be a whole number above 0"),
    ],
)
def test_an_end_out_of_its_range_is_reported(word: str, told: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "hydra/sweeper=optuna5", word])
    assert str(caught.value) == told
    assert str(pickle.loads(pickle.dumps(caught.value))) == told  # noqa: S301 - our own; a launcher sends it


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ("interval(1e-5,1e-3)", "interval(1e-5,1e-3)"),
        ("tag(log,interval(1e-5,1e-3))", "tag(log,interval(1e-5,1e-3))"),
        ("1e-5,1e-4,1e-3", "1e-05"),
    ],
)
def test_a_key_that_is_none_is_reported_once_with_the_nearest(values: str, shown: str) -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "hydra/sweeper=optuna5", f"trainer.lerning_rate={values}"])
    where = f"trainer.lerning_rate={shown}"
    start = f"{where}: unknown key 'trainer.lerning_rate'. Did you mean 'trainer.learning_rate'? "
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_a_choice_by_pattern_is_looked_at_too() -> None:
    chosen = {word for point in looked_at("adapter=glob(*)") for word in point}
    assert {"adapter=lora", "adapter=full"} <= chosen


def test_the_last_value_of_many_is_refused_with_its_word() -> None:
    with pytest.raises(FrameworkError) as caught:
        check_sweep(["-m", "trainer.learning_rate=1e-4,7", "seed=range(0,33)"])
    assert str(caught.value) == "trainer.learning_rate=7 must be a number above 0, up to 1"


def test_what_a_file_sweeps_over_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    yaml = "# @package _global_\nhydra:\n  sweeper:\n    params:\n      sede: 1,2\n"
    (tmp_path / "conf" / "experiment" / "sweep.yaml").write_text(yaml, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FrameworkError, match=r"sede=1: unknown key 'sede'\. Did you mean 'seed'"):
        check_sweep(["-m", "+experiment=sweep"])
