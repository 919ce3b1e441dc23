"""Weights & Biases, read back from what an offline run wrote."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb

from framework import FrameworkError, testing
from framework.api.events import RunStarted, StageFinished
from framework.api.records import Aspect, EvalResult, Measure, Step
from framework.api.schema import Stage
from framework.run import pipeline
from framework.testing.echo import EchoModel, EchoTraining
from framework.util.errors import PrunedError
from framework_plugins.trackers.config import WandbConfig
from framework_plugins.trackers.wandb_logger import Wandb
from framework_plugins.trackers.wandb_run import logging_mode
from tests.support.forked_program import echo, loggers
from tests.support.judge import JudgeStandIn
from tests.support.results import EVEN
from tests.support.wandb_alone import save_settings
from tests.support.wandb_file import OfflineRun, read_offline_run

SECRET = "open-sesame-42"  # noqa: S105 - planted
TOKEN = "hf_" + "aB3" * 10
KEY = "0123456789" * 4
IN_CONFIG, IN_ADDRESS = "only-the-judge-knows", "only-the-address-knows"
"""Secrets that no variable holds: they are in the config alone."""
WORDS = ["logger=[wandb]", "logger.wandb.project=orders"]
pytestmark = pytest.mark.usefixtures("home")


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
    assert report.verdict is not None
    run = logged(tmp_path)
    assert (run.project, run.group, run.name, run.tags) == ("orders", "rates", "first", ("a", "b"))
    assert run.exit_code == 0
    assert not any("adapter" in name or "checkpoint" in name for name in run.artifacts)
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
    answers, measures = run.tables["answers"], run.tables["measures"]
    scores = [f"{name} {when}" for name in ("exact_match", "token_f1", "stopped") for when in ("before", "after")]
    assert answers["columns"] == ["prompt", "reference", "before", "after", *scores]
    assert answers["data"][0] == ["say 0", "it is 0", "say 0", "it is 0", 0, 1, 0.4, 1, 1, 1]
    assert len(answers["data"]) == 4
    rows = {row[0]: dict(zip(measures["columns"], row, strict=True)) for row in measures["data"]}
    assert (rows["exact_match"]["before"], rows["exact_match"]["after"]) == (0, 0.75)
    outcomes = {name: change.outcome.value for name, change in report.metrics.items() if change.outcome}
    assert {name: row["outcome"] for name, row in rows.items()} == outcomes
    assert run.summary["verdict"]["score"] == report.verdict.score
    assert run.summary["verdict"]["lines"] == report.verdict.lines
    assert run.summary["objective"]["name"] == "exact_match"
    leaks = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file() and holds_a_secret(path)]
    assert leaks == []
    no_key = "no key: wandb login, or set WANDB_API_KEY"
    told = f"wandb: logged offline ({no_key}); upload it with: wandb sync {tmp_path}/wandb/offline-run-"
    assert told in capfd.readouterr().err


def holds_a_secret(path: Path) -> bool:
    content = path.read_bytes()
    return any(secret.encode() in content for secret in (SECRET, TOKEN, KEY, IN_CONFIG, IN_ADDRESS))


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
    assert run.summary["train"]["issues"][0]["kind"] == "nan"


def test_a_point_that_its_sweep_gave_up_has_not_failed(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give_up(*_: object) -> None:
        raise PrunedError("too far behind")

    monkeypatch.setattr(EchoTraining, "train", give_up)
    with pytest.raises(PrunedError):
        pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert logged(tmp_path).exit_code == 0


def test_answers_of_a_run_without_a_report_are_a_table_of_their_own(words: list[str], tmp_path: Path) -> None:
    pipeline.run(testing.plan([*words, "logger.wandb.answers=2", "stages=[data,baseline]"], run_dir=tmp_path))
    table = logged(tmp_path).tables["before/answers"]
    assert table["columns"][:3] == ["prompt", "reference", "answer"]
    assert [row[:3] for row in table["data"]] == [["say 0", "it is 0", "say 0"], ["say 1", "it is 1", "say 1"]]


def test_benchmarks_are_logged_with_their_standard_errors(words: list[str], tmp_path: Path) -> None:
    plan = testing.plan([*words, "stages=[data,baseline]"], run_dir=tmp_path)
    logger = Wandb(WandbConfig(project="orders"))
    logger.log(RunStarted(plan, EVEN, {}))
    result = EvalResult({"arc_easy/acc": Measure(0.5, higher_is_better=True, aspect=Aspect.general, stderr=0.02)})
    logger.log(StageFinished(Stage.baseline, result, 1.0))
    logger.close()
    (row,) = logged(tmp_path).history
    assert (row["before/arc_easy/acc"], row["before/arc_easy/acc_stderr"]) == (0.5, 0.02)


def test_the_page_is_logged_whole_if_its_logger_comes_later(words: list[str], tmp_path: Path) -> None:
    pipeline.run(testing.plan([*words, "logger=[wandb,html]"], run_dir=tmp_path))
    (row,) = [row for row in logged(tmp_path).history if "report" in row]
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/html/*.html")
    assert row["report"]["path"] == f"media/html/{file.name}"
    assert file.read_text(encoding="utf-8") == (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "exact_match" in file.read_text(encoding="utf-8")


def test_the_weights_are_an_artifact_where_that_is_asked_for(words: list[str], tmp_path: Path) -> None:
    more = ["exporter=[adapter]", "logger.wandb.log_adapter=true", "name='my run'"]
    pipeline.run(testing.plan([*words, *more], run_dir=tmp_path))
    files = logged(tmp_path).artifacts["my_run-adapter"]
    assert sorted(files) == sorted(str(path) for path in (tmp_path / "adapter").iterdir())
    assert str(tmp_path / "adapter" / "echo.json") in files


def parts(run_dir: Path) -> list[OfflineRun]:
    """Read all parts of the runs of a folder in the order in which they began."""
    wandb.teardown()
    files = sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime_ns)
    return [read_offline_run(file) for file in files]


def test_a_run_that_goes_on_goes_on_in_the_same_run(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pipeline.run(testing.plan([*words, "stages=[data,baseline,train]"], run_dir=tmp_path))
    pipeline.run(testing.plan([*words, "stages=[evaluate,report]"], run_dir=tmp_path))
    first, second = parts(tmp_path)
    assert (first.id, first.resumed, second.resumed) == (second.id, False, True)
    steps = [[row["_step"] for row in run.history] for run in (first, second)]
    assert steps == [[0, 1, 2, 3], [4]]
    assert "after/exact_match" in second.history[0]
    last = capfd.readouterr().err.splitlines()[-1]
    command, *uploaded = shlex.split(last.split("upload it with: ")[1])
    assert command == "wandb"
    assert uploaded == ["sync", *sorted(map(str, tmp_path.glob("wandb/offline-run-*")))]


def test_a_training_that_begins_anew_or_another_project_is_another_run(words: list[str], tmp_path: Path) -> None:
    for more in (["stages=[data,train]"], ["stages=[data,train]"], ["stages=[evaluate]", "logger.wandb.project=other"]):
        pipeline.run(testing.plan([*words, *more], run_dir=tmp_path))
    runs = parts(tmp_path)
    assert len({run.id for run in runs}) == 3
    assert not any(run.resumed for run in runs)


def test_a_run_that_was_ended_and_is_started_again_goes_on_in_the_same_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = EchoTraining._tell  # noqa: SLF001 - ends a training after its second step

    def ends(self: EchoTraining, told: Step) -> bool:
        if told.step == 3:
            raise KeyboardInterrupt
        return step(self, told)

    with monkeypatch.context() as patch:
        patch.setattr(EchoTraining, "_tell", ends)
        with pytest.raises(KeyboardInterrupt):
            pipeline.run(testing.plan(words, run_dir=tmp_path))
    pipeline.run(testing.plan([*words, "trainer.per_device_train_batch_size=1"], run_dir=tmp_path))
    first, second = parts(tmp_path)
    assert (first.id, first.resumed, second.resumed) == (second.id, False, True)
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert [row["_step"] for row in first.history] == [0, 1, 2]
    assert [row["_step"] for row in second.history] == [3]
    assert second.history[0].keys() >= {"train/loss", "after/exact_match", "answers"}


def test_a_run_that_fails_after_its_training_has_its_end_in_the_same_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EchoModel, "save_tokenizer", None)
        with pytest.raises(FrameworkError, match="TypeError"):
            pipeline.run(testing.plan(words, run_dir=tmp_path))
    pipeline.run(testing.plan(words, run_dir=tmp_path))
    first, second = parts(tmp_path)
    assert first.id == second.id
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert [row["_step"] for row in second.history] == [4]
    assert second.summary["objective"]["name"] == "exact_match"


def test_other_settings_are_another_training_and_another_run(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(EchoModel, "save_tokenizer", None)
        with pytest.raises(FrameworkError, match="TypeError"):
            pipeline.run(testing.plan(words, run_dir=tmp_path))
    pipeline.run(testing.plan([*words, "trainer.learning_rate=1e-3"], run_dir=tmp_path))
    first, second = parts(tmp_path)
    assert first.id != second.id
    assert [row["_step"] for row in second.history] == [0, 1, 2, 3]


def test_a_kept_id_that_cannot_be_read_means_a_new_run(words: list[str], tmp_path: Path) -> None:
    pipeline.run(testing.plan([*words, "stages=[data,train]"], run_dir=tmp_path))
    (tmp_path / "wandb.json").write_text("{", encoding="utf-8")
    pipeline.run(testing.plan([*words, "stages=[evaluate]"], run_dir=tmp_path))
    assert [run.resumed for run in parts(tmp_path)] == [False, False]


def test_no_secret_is_in_any_byte_of_its_files(
    tmp_path: Path, rows: list[dict[str, str]], write_rows: Callable[..., Path]
) -> None:
    told = [{**rows[0], "instruction": f"say {SECRET}", "output": f"the key {TOKEN}"}, *rows]
    data = tmp_path / SECRET / "rows.jsonl"
    data.parent.mkdir()
    data.write_text(write_rows(told).read_text(encoding="utf-8"), encoding="utf-8")
    paths = [f"data.path={data}", f"data.validation_path={data}", f"data.prompts_path={data}"]
    notes = f"'by {SECRET}, see https://me:{IN_ADDRESS}@acme.example'"
    about = [f"logger.wandb.notes={notes}", f"logger.wandb.tags=[{SECRET}]", f"logger.wandb.group={TOKEN}"]
    words = ["logger=[wandb,html]", "data=local_file", *paths, *about, f"name={SECRET}", "trainer.max_steps=3"]
    more = ["metric=[exact_match,judge]", "metric.judge.model=tiny", f"metric.judge.request={{api_key: {IN_CONFIG}}}"]
    env = {"ACME_TOKEN": SECRET, "HF_TOKEN": TOKEN, "WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}
    with JudgeStandIn(lambda _: "7") as judge:
        more += [f"metric.judge.base_url={judge.url}", f"run_dir=runs/{SECRET}", "logger.wandb.log_adapter=true"]
        done = echo(*words, *more, cwd=tmp_path, env=env, of=loggers())
    assert done.code == 0, done.err
    assert {request["api_key"] for request in judge.requests} == {IN_CONFIG}
    assert "wandb: the weights are not uploaded: the name of their folder holds a secret" in done.err
    files = [path for path in (tmp_path / "runs" / SECRET / "wandb").rglob("*") if path.is_file()]
    assert any(path.name.startswith("debug") for path in files)
    assert {path.suffix for path in files} >= {".wandb", ".log", ".json", ".html", ".txt"}
    assert [path for path in files if holds_a_secret(path)] == []


CLOSED = "http://127.0.0.1:9"
GONE = f"{CLOSED} cannot be reached"
NO_KEY = f"no key: wandb login --host={CLOSED}, or set WANDB_API_KEY"


@pytest.mark.parametrize(
    ("env", "saved", "words", "expected"),
    [
        ({}, {}, [], ("offline", NO_KEY)),
        ({}, {}, ["online"], ("offline", NO_KEY)),
        ({"WANDB_API_KEY": KEY}, {}, ["offline"], ("offline", "logger.wandb.mode=offline")),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "dryrun"}, {}, [], ("offline", "WANDB_MODE=dryrun")),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "disabled"}, {}, [], ("disabled", "WANDB_MODE=disabled")),
        ({"WANDB_API_KEY": KEY}, {"mode": "offline"}, [], ("offline", "mode=offline in W&B's settings")),
        ({"WANDB_API_KEY": KEY}, {"mode": "offline"}, ["online"], ("offline", GONE)),
        ({"WANDB_API_KEY": KEY, "WANDB_MODE": "online"}, {"mode": "offline"}, [], ("offline", GONE)),
        ({"WANDB_API_KEY": KEY}, {}, [], ("offline", GONE)),
    ],
)  # fmt: skip
def test_where_it_writes_is_known_before_a_run_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: Path,
    env: dict[str, str], saved: dict[str, str], words: list[str], expected: tuple[str, str],
) -> None:  # fmt: skip
    for name, value in {"WANDB_BASE_URL": CLOSED, **env}.items():
        monkeypatch.setenv(name, value)
    save_settings(home, **saved)
    plan = testing.plan([*WORDS, *(f"logger.wandb.mode={word}" for word in words)], run_dir=tmp_path)
    found = logging_mode(plan.logger["wandb"].config)
    assert (found.mode, found.reason) == expected


def test_a_run_with_wandb_disabled_writes_nothing_for_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert not (tmp_path / "wandb").exists()
    assert not (tmp_path / "wandb.json").exists()
    assert "wandb" not in capfd.readouterr().err
