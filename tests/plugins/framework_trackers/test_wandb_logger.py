"""Weights & Biases, read back from what an offline run wrote."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb

from framework import pipeline, testing
from framework.folder import save_overrides
from tests.framework.program import echo
from tests.support.wandb_file import OfflineRun, read_offline_run

SECRET = "open-sesame-42"  # noqa: S105 - planted
TOKEN = "hf_" + "aB3" * 10
WORDS = ["logger=[wandb]", "logger.wandb.project=orders"]


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let no key of this machine take part."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path_factory.mktemp("home") / "netrc"))


def logged(run_dir: Path) -> OfflineRun:
    """Read the run back; W&B's service writes behind the program's back and is asked to end first."""
    wandb.teardown()
    (file,) = run_dir.glob("wandb/offline-run-*/run-*.wandb")
    return read_offline_run(file)


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for a run of three steps that is asked four prompts."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    data = [f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]
    return [*WORDS, "data=local_file", *data, "trainer.max_steps=3"]


def test_a_run_is_logged_with_all_that_was_asked_for(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACME_TOKEN", SECRET)
    about = [
        *("logger.wandb.group=rates", "logger.wandb.run_name=first", "logger.wandb.tags=[a,b]"),
        *(f"logger.wandb.notes=for {SECRET}", f"name={TOKEN}"),
    ]
    report = pipeline.run(testing.plan([*words, *about], run_dir=tmp_path))
    assert report is not None
    run = logged(tmp_path)
    assert (run.project, run.group, run.name, run.tags) == ("orders", "rates", "first", ("a", "b"))
    assert run.exit_code == 0
    assert run.config["trainer"]["learning_rate"] == 2e-4
    assert run.config["name"] == "(hidden)"
    assert run.config["data_result"]["train_rows"] == 20
    assert run.config["data_result"]["findings"][0]["name"] == "leaked"
    assert "rows.jsonl:1: " not in str(run.config["data_result"])  # no row is quoted
    assert "it is" not in str(run.config["data_result"])
    assert run.summary.get("data") is None
    assert run.config["hardware"] == {"device": "none"}
    steps = [row for row in run.history if "train/loss" in row]
    assert [(row["_step"], row["train/loss"]) for row in steps] == [(1, 1), (2, 1 / 2), (3, 1 / 3)]
    assert steps[0].keys() >= {"train/learning_rate", "train/grad_norm", "train/tokens", "train/epoch"}
    means = {key: value for row in run.history for key, value in row.items() if key.startswith(("before/", "after/"))}
    assert means["before/exact_match"] == 0
    assert means["after/exact_match"] == 0.75
    assert means["after/eval_loss"] < means["before/eval_loss"]
    assert run.tables["answers"]["columns"] == ["prompt", "reference", "before", "after"]
    assert run.tables["answers"]["data"][0] == ["say 0", "it is 0", "say 0", "it is 0"]
    assert len(run.tables["answers"]["data"]) == 4
    assert run.summary["objective"]["name"] == "eval_loss"
    leaks = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file() and holds_a_secret(path)]
    assert leaks == []
    assert f"wandb: logged offline; upload it with: wandb sync {tmp_path}/wandb/offline-run-" in capfd.readouterr().err


def holds_a_secret(path: Path) -> bool:
    content = path.read_bytes()
    return SECRET.encode() in content or TOKEN.encode() in content


def test_names_come_from_the_run_where_none_are_given(words: list[str], tmp_path: Path) -> None:
    pipeline.run(testing.plan([*words, "name=mine", "stages=[data,baseline]"], run_dir=tmp_path / "monday"))
    run = logged(tmp_path / "monday")
    assert (run.name, run.group, run.notes, run.tags) == ("mine-monday", "", "", ())
    assert run.exit_code == 0


def test_troubles_are_alerts_and_validations_stand_with_their_steps(words: list[str], tmp_path: Path) -> None:
    more = ["trainer.eval_steps=1", "trainer.early_stopping_metric=exact_match", "trainer.losses=[1,1,nan]"]
    pipeline.run(testing.plan([*words, *more], run_dir=tmp_path))
    run = logged(tmp_path)
    ((title, text, level),) = run.alerts
    assert (title, level) == ("nan", "ERROR")
    assert text.startswith("step 3, nan: the loss is nan; the training stops. Lower trainer.learning_rate")
    checked = [(row["_step"], row["train/exact_match"]) for row in run.history if "train/exact_match" in row]
    assert checked == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert [row["train/eval_loss"] > 0 for row in run.history if "train/eval_loss" in row] == [True] * 3
    assert run.summary["train"]["troubles"][0]["kind"] == "nan"


def test_a_run_that_fails_has_exit_code_1(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    save_overrides(tmp_path, [])
    with pytest.raises(FileNotFoundError):
        pipeline.run(testing.plan([*words, "stages=[evaluate]"], run_dir=tmp_path))
    assert logged(tmp_path).exit_code == 1


def test_a_server_that_does_not_answer_means_offline_and_the_run_goes_on(words: list[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    env = {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0123456789" * 4}
    result = echo(*words, "logger.wandb.init_timeout=2", "run_dir=run", cwd=tmp_path, env=env)
    assert result.code == 0, result.err
    assert "wandb cannot be reached (" in result.err
    assert "this run is logged offline" in result.err
    run = logged(tmp_path / "run")
    assert run.exit_code == 0
    assert run.summary["metrics"]["exact_match"]["after"] == 0.75
