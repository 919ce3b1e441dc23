"""MLflow, read back from its folder by its own client."""

from __future__ import annotations

import json
import math
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from framework import testing
from framework.run import pipeline
from framework.testing.echo import EchoModel
from framework.util.errors import FrameworkError, PrunedError
from framework_plugins.trackers.config import MlflowConfig
from framework_plugins.trackers.mlflow_logger import tracking_address

SECRET = "open-sesame-42"  # noqa: S105 - planted


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no server of this machine take part."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for a run of three steps that is asked four prompts."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    data = [f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]
    return ["logger=[mlflow]", "data=local_file", *data, "trainer.max_steps=3"]


def stored(folder: Path, experiment: str = "framework") -> list[Any]:
    """Return the runs of an experiment, the first one first."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(folder.absolute().as_uri())
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    runs: list[Any] = client.search_runs([found.experiment_id], order_by=["attributes.start_time ASC"])
    return runs


def history(folder: Path, run: Any, name: str) -> list[tuple[int, float]]:
    from mlflow.tracking import MlflowClient

    return [
        (one.step, one.value)
        for one in MlflowClient(folder.absolute().as_uri()).get_metric_history(run.info.run_id, name)
    ]


def artifact(run: Any, name: str) -> str:
    return Path(run.info.artifact_uri.removeprefix("file://"), name).read_text(encoding="utf-8")


def test_a_run_is_stored_with_all_that_was_asked_for(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    about = ["logger.mlflow.experiment=orders", "logger.mlflow.run_name=first", "logger.mlflow.tags={team: mine}"]
    report = pipeline.run(testing.plan([*words, *about], run_dir=tmp_path / "run"))
    assert report is not None
    assert report.verdict is not None
    (run,) = stored(tmp_path / "mlruns", "orders")
    assert (run.info.run_name, run.info.status, run.data.tags["team"]) == ("first", "FINISHED", "mine")
    assert run.data.params["trainer.learning_rate"] == "0.0002"
    assert run.data.params["metric.exact_match.ignore_case"] == "false"
    assert len(run.data.params) > 50
    assert history(tmp_path / "mlruns", run, "train/loss") == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert history(tmp_path / "mlruns", run, "before/exact_match") == [(0, 0)]
    assert history(tmp_path / "mlruns", run, "after/exact_match") == [(3, 0.75)]
    assert run.data.metrics["objective"] == report.objective.value
    answers = json.loads(artifact(run, "answers.json"))
    assert answers["columns"][:4] == ["prompt", "reference", "before", "after"]
    assert answers["data"][0][:4] == ["say 0", "it is 0", "say 0", "it is 0"]
    assert json.loads(artifact(run, "measures.json"))["data"][0][0] == "eval_loss"
    assert [table["path"] for table in json.loads(run.data.tags["mlflow.loggedArtifacts"])] == [
        "answers.json",
        "measures.json",
    ]
    assert json.loads(artifact(run, "config.json"))["data_result"]["train_rows"] == 20
    assert json.loads(artifact(run, "report.json"))["objective"]["value"] == report.objective.value
    assert run.data.tags["verdict"] == "\n".join(report.verdict.lines)
    told = f"mlflow: logged to {(tmp_path / 'mlruns').as_uri()}, run {run.info.run_id}"
    assert told in capfd.readouterr().err


def test_the_page_and_the_weights_are_stored_where_they_are_asked_for(words: list[str], tmp_path: Path) -> None:
    more = ["logger=[mlflow,html]", "logger.mlflow.log_adapter=true"]
    pipeline.run(testing.plan([*words, *more], run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    assert artifact(run, "report.html") == (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert artifact(run, "adapter/echo.json") == (tmp_path / "run" / "adapter" / "echo.json").read_text(
        encoding="utf-8"
    )


def test_a_run_that_goes_on_goes_on_in_the_same_run(words: list[str], tmp_path: Path) -> None:
    for stages in ("[data,train]", "[evaluate,report]"):
        pipeline.run(testing.plan([*words, f"stages={stages}"], run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    assert run.info.status == "FINISHED"
    assert history(tmp_path / "mlruns", run, "train/loss")[-1] == (3, 1 / 3)
    assert history(tmp_path / "mlruns", run, "after/exact_match") == [(3, 0.75)]
    pipeline.run(testing.plan([*words, "stages=[data,train]"], run_dir=tmp_path / "run"))
    assert len(stored(tmp_path / "mlruns")) == 2


def test_a_run_that_failed_and_is_started_again_goes_on_in_the_same_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EchoModel, "save_tokenizer", None)
        with pytest.raises(FrameworkError, match="TypeError"):
            pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    pipeline.run(testing.plan(words, run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    assert run.info.status == "FINISHED"
    assert history(tmp_path / "mlruns", run, "train/loss") == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert json.loads(artifact(run, "report.json"))["objective"]["name"] == "exact_match"


def test_a_run_that_was_deleted_is_begun_anew(words: list[str], tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    pipeline.run(testing.plan([*words, "stages=[data,train]"], run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    MlflowClient((tmp_path / "mlruns").as_uri()).delete_run(run.info.run_id)
    pipeline.run(testing.plan([*words, "stages=[evaluate]"], run_dir=tmp_path / "run"))
    (other,) = stored(tmp_path / "mlruns")
    assert other.info.run_id != run.info.run_id
    assert other.info.status == "FINISHED"


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (PrunedError, "KILLED")]
)
def test_a_run_that_ends_early_is_marked_and_says_why_without_its_secrets(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: str
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)

    def breaks(*_: object) -> None:
        raise error(f"out of memory at {SECRET}")

    monkeypatch.setattr(EchoModel, "save_tokenizer", breaks)
    with pytest.raises((FrameworkError, error), match="out of memory"):
        pipeline.run(testing.plan([*words, f"name={SECRET}"], run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    assert run.info.status == status
    assert f"{error.__name__}: out of memory at (hidden)" in run.data.tags["error"]
    files = [file for file in (tmp_path / "mlruns").rglob("*") if file.is_file()]
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []


def test_troubles_are_tags(words: list[str], tmp_path: Path) -> None:
    pipeline.run(testing.plan([*words, "trainer.losses=[1,1,nan]", "health.nan=warn"], run_dir=tmp_path / "run"))
    (run,) = stored(tmp_path / "mlruns")
    assert run.data.tags["issue.nan"].startswith("step 3, nan: the loss is nan")
    assert [math.isnan(loss) for _, loss in history(tmp_path / "mlruns", run, "train/loss")] == [False, False, True]


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [
        (None, None, "file://{here}/mlruns"),
        (None, "http://server:5000", "http://server:5000"),
        ("runs here", "http://server:5000", "file://{here}/runs%20here"),
        ("/abs/runs", None, "file:///abs/runs"),
        ("sqlite:///mlflow.db", None, "sqlite:///mlflow.db"),
        ("https://server", None, "https://server"),
        ("databricks", None, "databricks"),
    ],
)
def test_where_it_writes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str | None, variable: str | None, expected: str
) -> None:
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert tracking_address(MlflowConfig(tracking_uri=given)) == expected.format(here=tmp_path)


def test_a_server_that_is_not_there_switches_the_logger_off_and_the_run_goes_on(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = time.monotonic()
    more = [f"logger.mlflow.tracking_uri=http://127.0.0.1:{port}"]
    report = pipeline.run(testing.plan([*words, *more], run_dir=tmp_path / "run"))
    assert report is not None
    assert "logger 'mlflow' failed and is switched off: MlflowException: API request to" in capfd.readouterr().err
    assert time.monotonic() - start < 30


def test_a_server_that_never_answers_is_waited_for_twice_at_most(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        more = [f"logger.mlflow.tracking_uri=http://127.0.0.1:{server.getsockname()[1]}", "logger.mlflow.timeout=1"]
        start = time.monotonic()
        assert pipeline.run(testing.plan([*words, *more], run_dir=tmp_path / "run")) is not None
    assert "logger 'mlflow' failed and is switched off: MlflowException: " in capfd.readouterr().err
    assert time.monotonic() - start < 30


def test_hook_check_plan_tells_of_a_database_that_cannot_be_opened(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("framework_plugins.trackers.plugin.missing", lambda _: ["sqlalchemy"])
    with pytest.raises(FrameworkError, match="tracking_uri is a database: MLflow needs sqlalchemy for it: pip install"):
        testing.plan([*words, "logger.mlflow.tracking_uri=sqlite:///x.db"], run_dir=tmp_path / "run")
    testing.plan([*words, "logger.mlflow.tracking_uri=http://server"], run_dir=tmp_path / "run")


def test_a_password_in_the_address_is_kept_nowhere(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    client = MagicMock()
    client.return_value.create_run.return_value.info.run_id = "abc"
    monkeypatch.setattr("framework_plugins.trackers.mlflow_logger.MlflowClient", client)
    address = f"http://me:{SECRET}@tracking.example"
    pipeline.run(testing.plan([*words, f"logger.mlflow.tracking_uri='{address}'"], run_dir=tmp_path / "run"))
    assert "tracking.example" in json.loads((tmp_path / "run" / "mlflow.json").read_text(encoding="utf-8"))["place"]
    told = capfd.readouterr().err + (tmp_path / "run" / "mlflow.json").read_text(encoding="utf-8")
    assert SECRET not in told


def test_its_telemetry_is_off() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
