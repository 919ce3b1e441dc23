"""Runs, read back out of the database that trackio wrote."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trackio
from trackio.utils import TRACKIO_DIR

import framework_trackio.plugin
from framework import FrameworkError, testing
from framework.testing import LoggerSuite

SECRET = "open-sesame-42"  # noqa: S105 - planted
ROWS = [{"instruction": f"say {number}", "input": "", "output": f"it is {number}"} for number in range(5)]


class TestTrackio(LoggerSuite):
    option = "trackio"


@dataclass(frozen=True)
class Stored:
    """One run as it lies in the database."""

    name: str
    config: dict[str, Any]
    entries: list[tuple[int, dict[str, Any]]]
    alerts: list[tuple[str, str, str]]

    def find(self, key: str) -> list[tuple[int, Any]]:
        """Return each entry with a key, and its step."""
        return [(step, values[key]) for step, values in self.entries if key in values]

    def last(self, key: str) -> Any:
        """Return the last value of a key."""
        return self.find(key)[-1][1]


def stored(project: str) -> list[Stored]:
    """Read the runs of a project in the order in which they began."""
    with closing(sqlite3.connect(TRACKIO_DIR / f"{project}.db")) as database:
        runs = database.execute("SELECT run_id, run_name, config FROM configs ORDER BY id").fetchall()
        return [
            Stored(
                name,
                json.loads(config),
                [
                    (step, json.loads(values))
                    for step, values in database.execute(
                        "SELECT step, metrics FROM metrics WHERE run_id = ? ORDER BY id", [run]
                    )
                ],
                database.execute("SELECT title, text, level FROM alerts WHERE run_id = ?", [run]).fetchall(),
            )
            for run, name, config in runs
        ]


@pytest.fixture
def project(request: pytest.FixtureRequest) -> str:
    """Return a project of this test's own: trackio has one store for the process."""
    return "".join(letter for letter in request.node.name if letter.isalnum() or letter == "_")


@pytest.fixture
def words(tmp_path: Path, project: str) -> list[str]:
    """Return overrides for a run of three steps that is asked five prompts."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    data = [f"data.{name}={file}" for name in ("path", "validation_path", "prompts_path")]
    return ["logger=[trackio]", f"logger.trackio.project={project}", "data=local_file", *data, "trainer.max_steps=3"]


def test_the_plugin_has_no_problems() -> None:
    assert testing.check_plugin(framework_trackio.plugin) == []


def test_a_run_is_logged_with_all_that_was_asked_for(
    words: list[str], project: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    about = ["logger.trackio.group=rates", "logger.trackio.run_name=first"]
    report = testing.run(testing.plan([*words, *about], run_dir=tmp_path / "run"))
    assert report is not None
    (run,) = stored(project)
    assert (run.name, run.config["_Group"]) == ("first", "rates")
    assert run.config["trainer"]["learning_rate"] == 2e-4
    assert run.config["data_result"]["train_rows"] == 5
    assert run.config["hardware"] == {"device": "none"}
    assert run.find("train/loss") == [(1, 1.0), (2, 1 / 2), (3, 1 / 3)]
    assert [step for step, _ in run.find("train/learning_rate")] == [1, 2, 3]
    assert run.find("train/eval_loss") == []
    assert run.find("before/exact_match") == [(0, 0.0)]
    assert run.find("after/exact_match") == [(3, 0.6)]
    assert run.last("after/eval_loss") < run.last("before/eval_loss")
    answers = run.last("answers")["_value"]
    assert answers[0] == {"prompt": "say 0", "reference": "it is 0", "before": "say 0", "after": "it is 0"}
    assert [row["prompt"] for row in answers] == [row["instruction"] for row in ROWS]
    assert run.last("report/metrics/exact_match/after") == 0.6
    assert run.last("report/objective/value") == report.objective.value
    text = run.last("report")["_value"].removeprefix("```json\n").removesuffix("\n```")
    assert json.loads(text) == json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert run.last("exit_code") == 0
    assert run.alerts == []
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err == f"trackio: logged to {TRACKIO_DIR}; look at it with: trackio show --project {project}\n"


def test_names_come_from_the_run_and_a_part_of_the_stages_is_logged(
    words: list[str], project: str, tmp_path: Path
) -> None:
    testing.run(testing.plan([*words, "name=mine", "stages=[data,baseline]"], run_dir=tmp_path / "monday"))
    (run,) = stored(project)
    assert (run.name, run.config["_Group"]) == ("mine-monday", None)
    assert run.find("train/loss") == []
    assert run.find("exit_code") == [(0, 0)]


@pytest.mark.parametrize(("count", "expected"), [(0, None), (2, 2)])
def test_the_table_holds_as_many_answers_as_were_asked_for(
    words: list[str], project: str, tmp_path: Path, count: int, expected: int | None
) -> None:
    testing.run(testing.plan([*words, f"logger.trackio.answers={count}"], run_dir=tmp_path / "run"))
    (run,) = stored(project)
    tables = run.find("answers")
    assert (len(tables[0][1]["_value"]) if tables else None) == expected


def test_troubles_are_alerts_and_validations_stand_with_their_steps(
    words: list[str], project: str, tmp_path: Path
) -> None:
    overrides = ["trainer.eval_steps=1", "trainer.early_stopping_metric=exact_match", "trainer.losses=[1,1,nan]"]
    testing.run(testing.plan([*words, *overrides], run_dir=tmp_path / "run"))
    (run,) = stored(project)
    ((title, text, level),) = run.alerts
    assert (title, level) == ("nan", "error")
    assert text.startswith("step 3, nan: the loss is nan; the training stops. Lower trainer.learning_rate")
    assert run.find("train/metrics/exact_match") == [(1, 0.2), (2, 0.4), (3, 0.6)]


def test_a_run_that_fails_is_marked_and_says_why(
    words: list[str], project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)

    def breaks(*_: object, **__: object) -> None:
        raise RuntimeError(f"out of memory at {SECRET}")

    monkeypatch.setattr(testing.EchoModel, "save_tokenizer", breaks)
    with pytest.raises(FrameworkError, match="out of memory"):
        testing.run(testing.plan(words, run_dir=tmp_path / "run"))
    (run,) = stored(project)
    ((title, text, level),) = run.alerts
    assert (title, level) == ("run failed", "error")
    assert "RuntimeError: out of memory at (hidden)" in text
    assert run.find("exit_code") == [(3, 1)]
    ((_, report),) = run.find("report")  # what the run has measured
    assert "RuntimeError: out of memory at (hidden)" in report["_value"]
    assert "TRACKIO ERROR" not in capfd.readouterr().out


def test_the_config_is_stored_before_anything_is_measured(
    words: list[str], project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[Stored] = []
    generate = testing.EchoModel.generate

    def slow(*arguments: Any, **named: Any) -> Any:
        time.sleep(1.5)  # trackio writes twice a second
        runs.extend(stored(project))
        return generate(*arguments, **named)

    monkeypatch.setattr(testing.EchoModel, "generate", slow)
    testing.run(testing.plan([*words, "stages=[data,baseline]"], run_dir=tmp_path / "run"))
    (run,) = runs
    assert run.config["data_result"]["train_rows"] == 5
    assert run.entries == [(0, {})]


def test_no_secret_reaches_the_store(
    words: list[str], project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    row = {"instruction": f"the key is {SECRET}", "input": "", "output": f"keep {SECRET}"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    named = [f"name=for {SECRET}", f"logger.trackio.group={SECRET}"]
    testing.run(testing.plan([*words, *named], run_dir=tmp_path / "run"))
    (run,) = stored(project)
    assert run.last("answers")["_value"][0]["prompt"] == "the key is (hidden)"
    assert (run.config["name"], run.config["_Group"]) == ("for (hidden)", "(hidden)")
    leaks = [file for file in TRACKIO_DIR.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert leaks == []


def test_runs_of_one_process_are_kept_apart(words: list[str], project: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        testing.run(testing.plan(words, run_dir=tmp_path / name))
    assert [(run.name, len(run.find("train/loss"))) for run in stored(project)] == [("run-one", 3), ("run-two", 3)]


def test_the_machine_is_logged_where_it_was_asked_for(
    words: list[str], project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ["logger.trackio.system=true", "logger.trackio.system_interval=0.05"]
    monkeypatch.setattr(testing.EchoModel, "save_tokenizer", lambda *_: time.sleep(1))
    testing.run(testing.plan([*words, *overrides], run_dir=tmp_path / "run"))
    with closing(sqlite3.connect(TRACKIO_DIR / f"{project}.db")) as database:
        (count,) = database.execute("SELECT count(*) FROM system_metrics").fetchone()
    assert count > 1


def test_a_project_that_trackio_refuses_switches_the_logger_off_and_the_run_goes_on(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = testing.run(testing.plan([*words, "logger.trackio.project=my_system"], run_dir=tmp_path / "run"))
    assert report is not None
    assert "logger 'trackio' failed and is switched off: ValueError: Project name" in capfd.readouterr().err


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Fail where a run of trackio is left open: its next log would go there."""
    yield
    with pytest.raises(RuntimeError, match=r"Call trackio\.init"):
        trackio.log({})
