"""The event log: one line of JSON for each thing that happened."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, testing
from framework.api.events import IssueFound, ProgressMade, RunFailed, RunStarted, TrainingStep
from framework.api.records import Progress, Step
from framework.api.schema import Stage
from framework.run import pipeline
from framework.rundir.folder import save_overrides
from framework_plugins.trackers.config import JsonlConfig
from framework_plugins.trackers.jsonl import Jsonl
from tests.support.results import AMISS, EVEN, SPIKE


def events(run_dir: Path, name: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / name).read_text(encoding="utf-8").splitlines()]


def run(data_file: Path, run_dir: Path, *words: str) -> None:
    always = ["data=local_file", f"data.path={data_file}", "logger=[jsonl]"]
    pipeline.run(testing.plan([*always, *words], run_dir=run_dir))


def test_every_event_of_a_run_is_a_line(data_file: Path, tmp_path: Path) -> None:
    run(data_file, tmp_path, "trainer.max_steps=2", "logger.jsonl.file=events.jsonl")
    found = [event for event in events(tmp_path, "events.jsonl") if event["event"] != "progress"]
    assert [event["event"] for event in found] == [
        *("started", "stage", "evaluated", "stage", "step", "step", "stage", "evaluated", "stage", "finished")
    ]
    assert [event["stage"] for event in found if event["event"] == "stage"] == [
        *("baseline", "train", "evaluate", "export")
    ]
    assert found[0]["data"]["train_rows"] == 18
    assert found[0]["hardware"] == {"device": "none"}
    assert [event["before"] for event in found if event["event"] == "evaluated"] == [True, False]
    assert found[4] | {"loss": 1.0, "step": 1, "total_steps": 2, "learning_rate": 2e-4} == found[4]
    assert found[-1]["objective"]["name"] == "exact_match"
    assert found[-1]["metrics"]["exact_match"].keys() >= {"before", "after", "outcome"}
    assert found[-1]["verdict"]["lines"][0].startswith("gained: ")


def test_progress_is_a_line_with_all_that_is_known(tmp_path: Path) -> None:
    log = Jsonl(JsonlConfig())
    log.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    log.log(ProgressMade(Stage.evaluate, Progress("prompts", "prompt", 7, 60, 3.5, 2, 4, "measure")))
    log.close()
    assert events(tmp_path)[1] == {
        "event": "progress", "stage": "evaluate", "task": "prompts", "unit": "prompt", "done": 7, "total": 60,
        "seconds": 3.5, "part": 2, "parts": 4, "kind": "measure", "seconds_done": None, "detail": "", "share": None,
    }  # fmt: skip


def test_what_is_counted_before_the_folder_is_there_follows_the_line_started(tmp_path: Path) -> None:
    log = Jsonl(JsonlConfig())
    log.log(ProgressMade(Stage.data, Progress("tokenizing", "row", 50, 90, 3.5)))
    log.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    log.close()
    assert [(one["event"], one.get("stage"), one.get("done")) for one in events(tmp_path)] == [
        ("started", None, None),
        ("progress", "data", 50),
    ]


def test_secrets_are_taken_out_of_rows_and_errors(
    rows: list[dict[str, str]],
    write_rows: Callable[[list[dict[str, str]]], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "open-sesame-42")
    told = write_rows([{**rows[0], "output": "say open-sesame-42"}, *rows])
    run(told, tmp_path, "stages=[data]")
    log = Jsonl(JsonlConfig())
    log.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    log.log(RunFailed(RuntimeError("no room for open-sesame-42")))
    log.close()
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert events(tmp_path)[-1]["error"] == "RuntimeError: no room for (hidden)"
    assert "say (hidden)" in text
    assert "open-sesame-42" not in text


def test_a_run_that_goes_on_appends(data_file: Path, tmp_path: Path) -> None:
    run(data_file, tmp_path, "stages=[data,train]")
    first = events(tmp_path)
    run(data_file, tmp_path, "stages=[evaluate]")
    assert events(tmp_path)[: len(first)] == first
    found = [event["event"] for event in events(tmp_path)[len(first) :]]
    assert [name for name in found if name != "progress"] == ["started", "stage", "evaluated"]


def test_a_failure_after_the_start_is_the_last_line(data_file: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    save_overrides(tmp_path, [])
    with pytest.raises(FileNotFoundError):
        run(data_file, tmp_path, "stages=[evaluate]")
    assert events(tmp_path)[-1]["error"].startswith("FileNotFoundError: ")


def test_troubles_and_the_metrics_of_a_validation_are_written(tmp_path: Path) -> None:
    log = Jsonl(JsonlConfig())
    log.log(RunStarted(testing.plan([], run_dir=tmp_path), EVEN, {}))
    log.log(TrainingStep(Step(1, 2, 0.5, 1.0, 2e-4, 1.0, 10, 0.1, 0.5, {"exact_match": 0.25})))
    log.log(IssueFound(SPIKE))
    log.close()
    _, step, issue = events(tmp_path)
    assert (step["eval_loss"], step["metrics"]) == (0.5, {"exact_match": 0.25})
    assert issue == {
        "event": "issue", "kind": "spike", "step": 2, "text": SPIKE.text,
        "recommendation": SPIKE.recommendation, "action": "warn"
    }  # fmt: skip


def test_findings_are_written_too(tmp_path: Path) -> None:
    log = Jsonl(JsonlConfig())
    log.log(RunStarted(testing.plan([], run_dir=tmp_path), AMISS, {}))
    log.close()
    (event,) = events(tmp_path)
    assert [finding["severity"] for finding in event["data"]["findings"]] == ["serious", "warning", "note"]
    assert event["data"]["view"][0]["pieces"][1]["learned"] is True


@pytest.mark.parametrize("name", ["../escaped.jsonl", "/escaped.jsonl", "plan.json", ".jsonl/x", "a\x1b.jsonl"])
def test_a_name_that_is_a_path_or_that_of_another_file_is_refused(data_file: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(FrameworkError, match=r"logger\.jsonl\.file=.* must be text that ends in \.jsonl, of at"):
        run(data_file, tmp_path, f"logger.jsonl.file='{name}'")
    assert [*tmp_path.iterdir()] == []


def test_a_link_in_the_folder_is_not_written_through(data_file: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious", encoding="utf-8")
    run(data_file, tmp_path / "run", "stages=[data]")
    (tmp_path / "run" / "log.jsonl").unlink()
    (tmp_path / "run" / "log.jsonl").symlink_to(victim)
    run(data_file, tmp_path / "run", "stages=[data]")
    assert victim.read_text(encoding="utf-8") == "precious"
