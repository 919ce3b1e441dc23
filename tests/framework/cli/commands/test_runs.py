"""`python -m framework runs`: the runs and sweeps of a folder, newest first, each with how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError
from framework.api import records
from framework.api.records import Sweep, Trial
from framework.api.run_folder import RunFolder
from framework.cli.main import run_command
from framework.util.command import this_program


def write(folder: Path, started: str, state: str = "finished", **more: Any) -> Path:
    """Write what a run leaves."""
    folder.mkdir(parents=True)
    error = more.pop("error", None)
    status = {"state": state, "stage": "train", "started": started, "finished": None, "seconds": {}, "error": error}
    (folder / "status.json").write_text(json.dumps(status), encoding="utf-8")
    if more:
        (folder / "report.json").write_text(json.dumps({"verdict": more}), encoding="utf-8")
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with three runs and a sweep, and be in it."""
    monkeypatch.chdir(tmp_path)
    outputs = tmp_path / "outputs"
    write(outputs / "a" / "1", "2026-11-01T10:00:00+00:00", score=0.62, lines=["gained: better", "forgot: nothing"])
    write(outputs / "a" / "2", "2026-11-03T10:00:00+00:00", "failed", error="no room \x1b[31m" + "x" * 300)
    write(outputs / "b" / "1", "2026-11-02T10:00:00+00:00", "running")
    sweep = outputs / "b" / "sweep"
    for number, state in enumerate(("finished", "finished", "pruned")):
        write(sweep / str(number), f"2026-11-04T1{number}:00:00+00:00", state)
    (sweep / "multirun.yaml").touch()
    trials = [Trial(number, [], "finished", "", 0.5, None, None, None, 0.25, "") for number in range(2)]
    records.save(Sweep(str(sweep), "exact_match", higher_is_better=True, best=1, trials=trials), sweep / "sweep.json")
    return tmp_path


@pytest.mark.usefixtures("place")
def test_each_run_has_its_state_and_its_verdict_and_a_sweep_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("runs", ["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["folder"], row["state"], row["score"]) for row in rows] == [
        ("outputs/b/sweep", "3 trials: 2 finished, 1 pruned", 0.25),
        ("outputs/a/2", "failed", None),
        ("outputs/b/1", "killed", None),
        ("outputs/a/1", "finished", 0.62),
    ]
    assert rows[0]["started"] == "2026-11-04T10:00:00+00:00"
    assert [rows[0]["verdict"], rows[3]["verdict"]] == ["best: trial 1, exact_match 50%", "gained: better"]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(
    ("hydra", "said"),
    [
        ("overrides: {task: ['trainer.learning_rate=1e-4,5e-4', 'trainer.seed=1,2']}", "3 of 4 trials"),
        ("sweeper: {n_trials: 20, sampler: {_target_: optuna.samplers.TPESampler}}", "3 of 20 trials"),
        ("overrides: {task: ['adapter.r=4,8,16']}", "3 trials"),
        ("sweeper: {n_trials: 20, params: {seed: '1,2,3,4,5'}}", "3 of 5 trials"),
        ("sweeper: {n_trials: 20}, overrides: {task: ['seed=1,2', 'adapter.r=interval(1,9)']}", "3 of 20 trials"),
        ("overrides: {task: ['adapter.r=choice(']}", "3 trials"),
        ("[", "3 trials"),
    ],
)
def test_a_sweep_shows_how_many_of_its_trials_began(hydra: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("outputs/b/sweep/multirun.yaml").write_text(f"hydra: {{{hydra}}}\n", encoding="utf-8")
    assert run_command("runs", ["--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == f"{said}: 2 finished, 1 pruned"


@pytest.mark.usefixtures("place")
def test_a_person_gets_two_lines_a_run_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_command("runs", []) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:1] == ["outputs/b/sweep"]
    assert lines[0].endswith("score 0.25")
    assert lines[1].rstrip() == "  best: trial 1, exact_match 50%"
    assert "\x1b" not in "".join(lines)
    assert sum(line.count("x") for line in lines if line.startswith("  no room") or "xxx" in line) < 200
    assert lines[-1].rstrip() == "  gained: better"


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize("content", ["{", "", "\0\0", "[]", '{"verdict": [1], "state": [2]}', "[" * 100_000])
def test_a_run_that_is_damaged_hides_no_other_one(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("outputs/a/1/report.json").write_text(content, encoding="utf-8")
    assert run_command("runs", ["outputs/a", "--json"]) == 0
    assert [row["verdict"][:7] for row in json.loads(capsys.readouterr().out)] == ["no room", ""]
    Path("outputs/a/1/status.json").write_text(content, encoding="utf-8")
    Path("outputs/b/sweep/sweep.json").write_text(content, encoding="utf-8")
    assert run_command("runs", ["--json"]) == 0
    states = {row["folder"]: row["state"] for row in json.loads(capsys.readouterr().out)}
    assert (states["outputs/a/1"], states["outputs/a/2"]) == ("unreadable", "failed")
    assert run_command("runs", []) == 0
    with pytest.raises(FrameworkError, match=r"outputs/a/1/status\.json does not match Status"):
        assert RunFolder(Path("outputs/a/1").absolute()).is_complete


def test_where_there_is_none_it_says_how_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command("runs", []) == 0
    assert capsys.readouterr().out == f"no runs below outputs: `{this_program()}` starts the quickstart\n"
    with pytest.raises(FrameworkError, match="nowhere: there is no such folder"):
        run_command("runs", ["nowhere"])
