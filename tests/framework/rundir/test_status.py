"""The run folder tells how far a run got, and what it was made with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.run import pipeline
from framework.rundir.folder import save_overrides
from framework.rundir.status import note_failure, reason


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    return ["data=local_file", f"data.path={write_rows(rows)}"]


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return found


def run(words: list[str], run_dir: Path) -> None:
    pipeline.run(testing.plan(words, run_dir=run_dir))


def fail(words: list[str], run_dir: Path) -> None:
    """Train, lose the weights, and evaluate."""
    run([*words, "stages=[plan,data,train]"], run_dir)
    (run_dir / "checkpoint" / "echo.json").unlink()
    with pytest.raises(FrameworkError):
        run([*words, "stages=[baseline,evaluate]"], run_dir)


def test_a_run_says_how_far_it_is_and_what_it_was_made_with(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    train = testing.EchoModel.train

    def look(self: testing.EchoModel, *arguments: Any) -> Any:
        seen.append(read(tmp_path, "status.json"))
        return train(self, *arguments)

    monkeypatch.setattr(testing.EchoModel, "train", look)
    run([*words, "seed=3"], tmp_path)
    assert [(status["state"], status["stage"], status["finished"]) for status in seen] == [
        ("running", "baseline", None)
    ]
    status = read(tmp_path, "status.json")
    assert (status["state"], status["stage"], status["error"]) == ("finished", "report", None)
    assert list(status["seconds"]) == ["data", "baseline", "train", "evaluate", "export", "report"]
    assert status["started"] <= status["finished"]
    environment = read(tmp_path, "environment.json")
    assert (environment["command"][-1], environment["seed"]) == ("seed=3", 3)
    assert environment["folder"] == str(Path.cwd())
    assert environment["fingerprint"] == read(tmp_path, "data.json")["fingerprint"]
    assert environment["packages"].items() <= read(tmp_path, "report.json")["versions"].items()


def test_a_failed_run_says_why_in_one_line_and_in_which_stage(words: list[str], tmp_path: Path) -> None:
    fail(words, tmp_path)
    status = read(tmp_path, "status.json")
    assert (status["state"], status["stage"]) == ("failed", "evaluate")
    assert status["error"].endswith("to another place")


def test_a_mistake_leaves_the_folder_of_a_finished_run_as_it_was(words: list[str], tmp_path: Path) -> None:
    run(words, tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.glob("*.json")}
    with pytest.raises(FrameworkError):
        run([*words, "data.path=missing.jsonl"], tmp_path)
    assert {file: file.read_bytes() for file in tmp_path.glob("*.json")} == before


def test_a_point_of_a_sweep_that_is_refused_says_why(words: list[str], tmp_path: Path) -> None:
    save_overrides(tmp_path, words)  # Hydra makes the folder, the command line writes the words
    with pytest.raises(FrameworkError):
        run([*words, "data.path=missing.jsonl"], tmp_path)
    status = read(tmp_path, "status.json")
    assert (status["state"], status["stage"]) == ("failed", None)
    assert status["error"].startswith("there is no data file ")


def test_nothing_is_written_into_a_folder_that_no_run_made(tmp_path: Path) -> None:
    note_failure(tmp_path, RuntimeError("lost"))
    note_failure(tmp_path / "new", RuntimeError("lost"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (FrameworkError("first\nsecond"), "first; second"),
        (ValueError("first\nsecond"), "ValueError: first"),
        (ValueError("no entry for https://me:secret@hub"), "ValueError: no entry for https://(hidden)@hub"),
    ],
)
def test_the_reason_is_one_line_without_secrets(error: BaseException, text: str) -> None:
    assert reason(error) == text


def test_a_later_stage_leaves_what_made_the_run_in_place(words: list[str], tmp_path: Path) -> None:
    run([*words, "seed=3"], tmp_path)
    before = read(tmp_path, "environment.json")
    run([*words, "seed=4", "stages=[evaluate,report]"], tmp_path)
    assert read(tmp_path, "environment.json") == before
    run([*words, "seed=4", "stages=[train]"], tmp_path)
    assert read(tmp_path, "environment.json")["seed"] == 4
