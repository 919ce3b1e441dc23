"""`hydra/sweeper=optuna5`, with real processes and the echo backend."""

import json
import subprocess
import time
from pathlib import Path

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from framework_plugins.sweeps.storage import open_storage
from tests.support.forked_program import MODULE, program
from tests.support.program import environment
from tests.support.sweeps import WORDS, points, prepare, sweep

OPTUNA = ["hydra/sweeper=optuna5", "objective=train_loss"]
RATES = "trainer.learning_rate=tag(log,interval(1e-5,1e-3))"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a working folder with data and the backend."""
    return prepare(tmp_path / "place")


def study(place: Path, name: str = "run") -> optuna.Study:
    """Open the study of the folder `x`."""
    storage = JournalStorage(JournalFileBackend(str(place / "x" / "study.journal")))
    return optuna.load_study(study_name=name, storage=storage)


def states(found: optuna.Study) -> list[str]:
    return [trial.state.name for trial in found.get_trials(deepcopy=False)]


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("cmaes", marks=pytest.mark.slow)])
def test_a_sampler_chooses_points_of_the_space_and_the_best_is_written_down(place: Path, sampler: str) -> None:
    words = [f"hydra.sweeper.sampler={sampler}", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_startup_trials=2"]
    done = sweep(place, *OPTUNA, *words, "hydra.sweeper.seed=1", RATES, "trainer.max_steps=range(1,5)")
    assert done.code == 0, done.err
    found = points(place)
    assert [point["number"] for point in found] == [0, 1, 2, 3]
    chosen = [dict(word.split("=") for word in point["overrides"]) for point in found]
    assert all(1e-5 <= float(each["trainer.learning_rate"]) <= 1e-3 for each in chosen)
    assert all(each["trainer.max_steps"] in {"1", "2", "3", "4"} for each in chosen)
    best = OmegaConf.load(place / "x" / "optimization_results.yaml")
    assert (best.name, best.best_value) == ("optuna5", min(point["value"] for point in found))
    assert best.best_params["trainer.max_steps"] == max(int(each["trainer.max_steps"]) for each in chosen)
    assert OmegaConf.load(place / "x" / "multirun.yaml").hydra.sweeper.sampler == sampler


def test_a_search_with_few_combinations_tries_each_of_them_once(place: Path) -> None:
    done = sweep(place, *OPTUNA, "hydra.sweeper.n_trials=3", "trainer.learning_rate=1e-4,2e-4")
    assert done.code == 0, done.err
    assert sorted(word for point in points(place) for word in point["overrides"]) == [
        "trainer.learning_rate=0.0001", "trainer.learning_rate=0.0002",
    ]  # fmt: skip


def test_a_grid_has_every_combination_once_and_a_failed_point_ends_nothing(place: Path) -> None:
    done = sweep(place, *OPTUNA, "hydra.sweeper.sampler=grid", "trainer.end=none,mistake", "seed=1,2")
    assert done.code == 2
    assert done.err == "first line\nsecond line\n"
    found = points(place)
    assert [(point["overrides"], point["state"]) for point in found] == [
        (["trainer.end=none", "seed=1"], "finished"),
        (["trainer.end=none", "seed=2"], "finished"),
        (["trainer.end=mistake", "seed=1"], "failed"),
        (["trainer.end=mistake", "seed=2"], "failed"),
    ]
    assert found[2]["reason"] == "first line; second line"
    assert states(study(place)) == ["COMPLETE", "COMPLETE", "FAIL", "FAIL"]
    assert study(place).trials[2].user_attrs["reason"] == "FrameworkError: first line"


@pytest.mark.parametrize(
    ("pruner", "objective"),
    [("median", "train_loss"), pytest.param("asha", "verdict.score", marks=pytest.mark.slow)],
)
def test_a_hopeless_point_is_pruned_which_is_no_failure(place: Path, pruner: str, objective: str) -> None:
    words = ["hydra.sweeper.sampler=grid", f"hydra.sweeper.pruner={pruner}", "hydra.sweeper.n_startup_trials=2"]
    losses = "trainer.eval_losses=[1.0,0.9,0.8],[1.1,1.0,0.9],[1.2,1.1,1.0],[9.0,9.0,9.0]"
    done = sweep(
        place, *OPTUNA[:1], f"objective={objective}", *words, losses, "trainer.eval_steps=3", "trainer.keep_best=false"
    )
    assert done.code == 0, done.err
    found = points(place)
    assert (found[0]["state"], found[3]["state"]) == ("finished", "pruned")
    assert found[3]["reason"].startswith(f"step 3 of 11: pruned by {pruner}: a validation loss of 9 at validation 1")
    assert found[3]["value"] is None
    assert not (place / "x" / "3" / "checkpoint").exists()
    status = json.loads((place / "x" / "3" / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["stage"]) == ("pruned", "baseline")
    trial = study(place).trials[3]
    assert trial.state.name == "PRUNED"
    assert list(trial.intermediate_values.values()) == [9.0 if objective == "train_loss" else -9.0]


@pytest.mark.slow
def test_pruning_reaches_a_run_in_a_process_of_its_own(place: Path) -> None:
    words = ["hydra.sweeper.sampler=grid", "hydra.sweeper.pruner=median", "hydra.sweeper.n_startup_trials=1"]
    done = sweep(place, *OPTUNA, *words, "trainer.eval_steps=3", "trainer.eval_losses=[1.0],[9.0]", "launch=subprocess")
    assert done.code == 0, done.err
    assert [point["state"] for point in points(place)] == ["finished", "pruned"]


@pytest.mark.slow
def test_a_sweep_that_was_killed_goes_on_with_the_point_that_was_at_work(place: Path) -> None:
    words = [*OPTUNA, "hydra.sweeper.n_trials=3", "hydra.sweeper.seed=1", RATES, "trainer.kills_once=true"]
    first = sweep(place, *words, "trainer.max_steps=2")
    assert first.code == -9
    assert states(study(place)) == ["RUNNING"]
    tried = study(place).trials[0].params
    done = program("resume", "x", cwd=place)
    assert done.code == 0, done.err
    assert states(study(place)) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    assert study(place).trials[1].params == tried
    assert [(point["number"], point["state"]) for point in points(place)] == [(n, "finished") for n in range(3)]


def test_resume_runs_failed_points_again_and_a_sweep_that_is_through_runs_none(place: Path) -> None:
    rows = (place / "rows.jsonl").rename(place / "kept.jsonl")
    done = sweep(place, *OPTUNA, "hydra.sweeper.sampler=grid", "seed=1,2")
    assert done.code == 2
    rows.rename(place / "rows.jsonl")
    assert states(study(place)) == ["FAIL", "FAIL"]
    done = program("resume", "x", cwd=place)
    assert done.code == 0, done.err
    assert states(study(place)) == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    assert [(point["number"], point["state"]) for point in points(place)] == [(0, "finished"), (1, "finished")]
    done = program("resume", "x", cwd=place)
    assert done.code == 0, done.err
    assert len(states(study(place))) == 4


def test_a_study_that_has_its_points_says_so_and_shows_them(place: Path) -> None:
    words = [*OPTUNA, RATES, "adapter.r=8,16", "hydra.sweeper.seed=1"]
    assert sweep(place, *words, "hydra.sweeper.n_trials=2").code == 0
    before = {file: file.stat().st_mtime_ns for file in place.glob("x/[01]/*")}
    done = sweep(place, *words, "hydra.sweeper.n_trials=2")
    assert done.code == 0, done.err
    first, *table = done.out.splitlines()
    assert first == "the study 'run' has its 2 trials: hydra.sweeper.n_trials=4 would add 2"
    values = [f"{trial.value:.4g}" for trial in study(place).trials]
    assert [any(value in line and f"x/{n}" in line for line in table) for n, value in enumerate(values)] == [True, True]
    assert table[-1].startswith(f"best: trial {study(place).best_trial.number} (trainer.learning_rate=")
    assert {file: file.stat().st_mtime_ns for file in before} == before
    done = program("resume", "x", cwd=place)
    assert (done.code, done.out.splitlines()[0]) == (0, first)
    assert "sweep in " in done.out
    assert "study 'run'\n" not in done.out


@pytest.mark.slow
def test_a_grid_that_is_through_says_so(place: Path) -> None:
    words = [*OPTUNA, "hydra.sweeper.sampler=grid", "trainer.end=none,mistake"]
    assert sweep(place, *words).code == 2
    done = sweep(place, *words)
    assert done.code == 0, done.err
    assert done.out.startswith("the study 'run' has all 2 trials of its grid\n")
    assert "failed" in done.out


@pytest.mark.slow
def test_what_another_machine_is_at_work_on_is_left_to_it_until_the_sweep_is_resumed(place: Path) -> None:
    words = [*OPTUNA, "hydra.sweeper.storage=sqlite:///study.db", RATES, "hydra.sweeper.n_trials=2"]
    found = optuna.create_study(storage=open_storage(f"sqlite:///{place}/study.db"), study_name="run")
    trial = found.ask({"trainer.learning_rate": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True)})
    for name, value in {"folder": str(place / "x"), "point": 0, "host": "elsewhere", "process": 1}.items():
        trial.set_user_attr(name, value)
    done = sweep(place, *words)
    assert done.code == 0, done.err
    assert states(found) == ["RUNNING", "COMPLETE"]
    assert found.trials[1].user_attrs["point"] == 1
    done = program("resume", "x", cwd=place)
    assert done.code == 0, done.err
    assert states(found) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert found.trials[2].params == trial.params
    assert found.trials[2].user_attrs["point"] == 0


def test_a_point_that_was_taken_over_ends_without_a_word_to_the_study(place: Path) -> None:
    words = [*WORDS, *OPTUNA, "hydra.sweeper.n_trials=1", "hydra.sweeper.pruner=median", RATES, "trainer.naps=60"]
    command = [*MODULE, "-m", *words]
    with subprocess.Popen(command, cwd=place, env=environment(place.parent), stderr=subprocess.PIPE, text=True) as one:
        while not (place / "x" / "0" / "status.json").exists():
            assert one.poll() is None
            time.sleep(0.1)
        study(place).tell(0, state=optuna.trial.TrialState.FAIL)
        (place / "enough").touch()
        _, told = one.communicate(timeout=60)
    assert one.returncode == 0, told
    assert told.startswith("trial 0: another process took it over and runs it again; ")
    assert len(told.splitlines()) == 1
    assert (states(study(place)), points(place)[0]["state"]) == (["FAIL"], "finished")


def test_other_choices_than_those_of_the_study_are_reported_before_a_point_runs(place: Path) -> None:
    words = [*OPTUNA, "hydra.sweeper.n_trials=1"]
    assert sweep(place, *words, "adapter.r=8,16").code == 0
    before = (place / "x" / "multirun.yaml").read_bytes()
    done = sweep(place, *words, "adapter.r=8,32")
    assert done.code == 2
    assert done.err.startswith("adapter.r=8,32: the study 'run' has trials of adapter.r=8,16, which cannot change: ")
    assert (place / "x" / "multirun.yaml").read_bytes() == before


EXPERIMENT = """
# @package _global_
defaults:
  - override /hydra/sweeper: optuna5
hydra:
  sweeper:
    sampler: grid
    params:
      trainer.max_steps: range(1,3)
      seed: 1,2,3
objective: train_loss
"""


def test_an_experiment_can_hold_the_search_and_the_command_line_wins_over_it(place: Path) -> None:
    file = place / "conf" / "experiment" / "search.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(EXPERIMENT.lstrip(), encoding="utf-8")
    done = sweep(place, "+experiment=search", "seed=7")
    assert done.code == 0, done.err
    assert [point["overrides"] for point in points(place)] == [["trainer.max_steps=1"], ["trainer.max_steps=2"]]


def test_a_mistyped_key_of_an_interval_uses_up_no_study(place: Path) -> None:
    before = set(place.rglob("*"))
    shared = [*OPTUNA, "hydra.sweeper.storage=sqlite:///study.db"]
    done = sweep(place, *shared, "trainer.lerning_rate=interval(1e-5,1e-3)")
    assert done.code == 2
    assert "Did you mean 'trainer.learning_rate'?" in done.err
    assert len(done.err.splitlines()) == 1
    assert {path for path in place.rglob("*") if "__pycache__" not in path.parts} == before


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "hydra/sweeper=optuna5 has nothing to search"),
        (["objective=train_loss,eval_loss"], "objective=train_loss,eval_loss: trials are compared by one objective"),
        (
            ["hydra.sweeper.sampler=grid", RATES],
            "trainer.learning_rate is an interval, which has infinitely many values",
        ),
        (["trainer.learning_rate=interval(1,0.5)"], "trainer.learning_rate=interval(1,0.5): "),
        (["objective=stopped", RATES], "set hydra.sweeper.direction=maximize|minimize"),
        (["hydra.sweeper.storage=nosuch://x", RATES], "hydra.sweeper.storage=nosuch://x cannot be opened: "),
    ],
)
def test_a_mistake_is_reported_before_a_point_runs(place: Path, words: list[str], text: str) -> None:
    done = sweep(place, "hydra/sweeper=optuna5", *words)
    assert done.code == 2
    assert text in done.err
    assert "Traceback" not in done.err
    assert not (place / "x" / "0").exists()
