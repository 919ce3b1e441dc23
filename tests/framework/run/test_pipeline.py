"""The run from a plan to a report, with the echo backend."""

import dataclasses
import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import FrameworkError, hookimpl, testing
from framework.api import records
from framework.api.plan import Plan
from framework.api.protocols import Model
from framework.api.records import (
    Change,
    DataResult,
    EvalResult,
    ExportResult,
    MeasureKind,
    Message,
    Outcome,
    Prompt,
    Report,
    TrainResult,
)
from framework.api.schema import Stage
from framework.hooks.session import current
from framework.run import pipeline
from framework.util.errors import Interrupted
from tests.support.project import project

CONTENT = MeasureKind.content
RESULTS = ["baseline", "data", "evaluate", "export", "plan", "report", "train"]
RECORDS = ["environment", "forecast", "overrides", "status"]


@pytest.fixture
def words(rows: list[dict[str, str]], write_rows: Callable[..., Path]) -> list[str]:
    """Return overrides for a run that memorizes its own prompts."""
    train, prompts = write_rows(rows), write_rows(rows[:4])
    return ["data=local_file", f"data.path={train}", f"data.validation_path={prompts}", f"data.prompts_path={prompts}"]


def run(words: list[str], run_dir: Path) -> Report | None:
    return pipeline.run(testing.plan(words, run_dir=run_dir))


def test_a_plan_alone_says_which_metric_will_decide_and_why_if_the_rows_are_there(tmp_path: Path) -> None:
    rows = [{"instruction": "say", "output": f"This is the answer with number {number}."} for number in range(8)]
    words = ["metric=[exact_match,token_f1]", "data=local_file", "data.path=rows.jsonl", "stages=[plan]"]
    there = project(tmp_path, {"rows.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows)})
    said = r"decides token_f1: not exact_match, since half of the .*, judging by 8 references"
    assert re.search(said, " ".join(there.echo(*words).out.split()))
    (tmp_path / "rows.jsonl").unlink()
    result = there.echo(*words)
    assert (result.code, "decides" in result.out) == (0, False)


def test_a_run_leaves_the_result_of_every_stage_and_measures_what_it_did(words: list[str], tmp_path: Path) -> None:
    report = run(words, tmp_path / "run")
    assert report is not None
    change = report.metrics["exact_match"]
    assert (change.before, change.after, change.leaked, change.pairs) == (0.0, 1.0, 4, 0)
    assert change.outcome is Outcome.unknown  # the prompts are training rows
    assert report.metrics["eval_loss"].before
    assert (report.objective.name, report.objective.value) == ("exact_match", 1.0)
    assert {path.stem for path in (tmp_path / "run").glob("*.json")} == {*RESULTS, *RECORDS}
    assert records.load(Report, tmp_path / "run" / "report.json") == report
    assert report.data == records.load(DataResult, tmp_path / "run" / "data.json")
    assert list(report.seconds) == ["plan", "data", "baseline", "train", "evaluate", "export"]
    assert [artifact.path for artifact in report.artifacts] == ["adapter"]


def test_the_objective_is_what_was_asked_for(words: list[str], tmp_path: Path) -> None:
    report = run([*words, "objective=train_loss", "evaluator=[]", "exporter=[]"], tmp_path)
    assert report is not None
    assert report.objective.value == pytest.approx(0.1798869828611182)


@pytest.mark.parametrize(
    ("objective", "values", "measured"),
    [
        ("exact_match", (1.0, 0.0), {"exact_match"}),
        ("stopped", (1.0, 1.0), {"stopped"}),  # the model always stops
        ("verdict.score", (0.242, 0.0), {"exact_match", "token_f1", "stopped"}),
        ("eval_loss", (3.258, 3.258), set()),
    ],
)
def test_a_sweep_chooses_by_other_prompts_than_those_that_the_verdict_judges_by(
    rows: list[dict[str, str]],
    write_rows: Callable[..., Path],
    tmp_path: Path,
    objective: str,
    values: tuple[float, float],
    measured: set[str],
) -> None:
    """The model memorizes: it is right about the prompts, which are training rows, and about no validation row."""
    unseen = [{"instruction": f"new {number}", "output": f"it was {number}"} for number in range(8)]
    files = [f"data.{name}={write_rows(part)}" for name, part in
             (("path", rows), ("validation_path", unseen), ("prompts_path", rows[:8]))]  # fmt: skip
    words = ["data=local_file", *files, f"objective={objective}", "audit=[]"]
    plan = testing.plan(words, run_dir=tmp_path / "run")
    alone, trial = (pipeline.run(dataclasses.replace(plan, sweep=sweep)) for sweep in ("", "rates"))
    assert alone is not None
    assert trial is not None
    assert (alone.objective.value, trial.objective.value) == pytest.approx(values, abs=0.01)
    assert trial.verdict is not None
    assert alone.verdict is not None
    assert trial.verdict.lines == [
        *alone.verdict.lines,
        "chosen: this is one trial of a sweep: the more trials, the likelier it is that one looks better by chance",
    ]
    assert dataclasses.replace(trial.verdict, lines=[], tones=[]) == dataclasses.replace(
        alone.verdict, lines=[], tones=[]
    )
    saved = records.load(EvalResult, tmp_path / "run" / "evaluate.json")
    assert set(saved.selection) == measured


def test_an_exporter_that_will_not_be_able_to_ends_the_run_before_anything_is_written(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framework_plugins.exports.adapter import AdapterExporter

    def check(exporter: AdapterExporter, model: Model, plan: Plan) -> None:
        assert model.render(Prompt((Message("user", "hi"),)))
        raise FrameworkError(f"{exporter.config.folder} cannot hold {plan.name}")

    monkeypatch.setattr(AdapterExporter, "check", check, raising=False)
    with pytest.raises(FrameworkError, match="adapter cannot hold run"):
        run(words, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run([*words, "stages=[data,train]"], tmp_path / "run")


@pytest.mark.parametrize("error", [FrameworkError("no room"), SystemExit(0)])
def test_a_failed_export_keeps_the_report_and_the_next_export_completes_it(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    from framework_plugins.exports.adapter import AdapterExporter

    def export(*_: Any) -> None:
        raise error

    words = [*words, "logger=[jsonl,html]"]
    with monkeypatch.context() as patched:
        patched.setattr(AdapterExporter, "export", export)
        with pytest.raises(FrameworkError, match=f"exporter 'adapter': .*{error}"):
            run(words, tmp_path)
    failed = records.load(Report, tmp_path / "report.json")
    assert failed.metrics["exact_match"].after == 1.0
    assert [*failed.failed_exports] == ["adapter"]
    assert str(error) in failed.failed_exports["adapter"]
    status = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert (status["state"], status["stage"]) == ("failed", "export")
    assert "adapter, failed" in (tmp_path / "report.html").read_text(encoding="utf-8")
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines[-2:]] == ["finished", "failed"]
    run([*words, "stages=[export]"], tmp_path)
    report = records.load(Report, tmp_path / "report.json")
    assert [artifact.path for artifact in report.artifacts] == ["adapter"]
    assert dataclasses.replace(report, artifacts=[], failed_exports=failed.failed_exports) == failed
    again = json.loads((tmp_path / "status.json").read_text(encoding="utf-8"))
    assert again["state"] == "finished"
    assert again["seconds"].keys() == {*status["seconds"], "export"}


def test_an_interrupted_export_leaves_a_finished_run_as_it_is(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from framework_plugins.exports.adapter import AdapterExporter

    def export(*_: Any) -> None:
        raise Interrupted(signal.SIGTERM)

    words = [*words, "logger=[html]"]
    run([*words, "exporter=[]"], tmp_path)
    kept = {name: (tmp_path / name).read_bytes() for name in ("data.json", "report.html", "report.json", "status.json")}
    monkeypatch.setattr(AdapterExporter, "export", export)
    with pytest.raises(Interrupted):
        run([*words, "stages=[export]"], tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in kept} == kept
    said = capsys.readouterr().err
    assert re.search(r"SIGTERM\. The run itself is finished; export again with: .* stages=\[export\] run_dir=", said)


def test_one_more_export_keeps_the_report_the_verdict_and_the_date(words: list[str], tmp_path: Path) -> None:
    words = [*words, "logger=[html]"]
    first = run([*words, "exporter=[]"], tmp_path)
    assert first is not None
    status, data = ((tmp_path / name).read_bytes() for name in ("status.json", "data.json"))
    Path(words[1].removeprefix("data.path=")).write_text('{"instruction": "a new row", "output": "x"}\n' * 2)
    report = run([*words, "stages=[export]"], tmp_path)
    assert report == records.load(Report, tmp_path / "report.json")
    assert report is not None
    assert [artifact.kind for artifact in report.artifacts] == ["adapter"]
    assert dataclasses.replace(report, artifacts=[]) == first
    assert (tmp_path / "status.json").read_bytes() == status
    assert (tmp_path / "data.json").read_bytes() == data  # of the training
    assert "Was it worth it?" in (tmp_path / "report.html").read_text(encoding="utf-8")
    run([*words, "stages=[evaluate]"], tmp_path)  # its numbers are others
    assert not (tmp_path / "report.json").exists()


def test_the_plan_stage_alone_needs_no_data_and_writes_the_plan(tmp_path: Path) -> None:
    words = ["data=local_file", "data.path=missing.jsonl", "stages=[plan]"]
    assert run(words, tmp_path / "other") is None
    assert not (tmp_path / "other").exists()
    said = project(tmp_path / "mine", {"missng.jsonl": "", "a.csv": ""}).echo(*words).out
    assert "rows there is no data file missing.jsonl. Beside it: missng.jsonl, a.csv. The plan assumes rows of" in (
        " ".join(said.split())
    )
    assert run([*words, f"run_dir={tmp_path / 'run'}"], tmp_path) is None
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "forecast.json",
        "overrides.json",
        "plan.json",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=local_file", "data.path=nowhere.jsonl"], "there is no data file nowhere.jsonl"),
        (["data=local_file", "data.path={file}", "data.validation_path=none.csv"], "there is no data file none.csv"),
        (
            ["data=local_file", "data.path={file}", "data.mix=[{{path: more.jsonl, weight: 0.1}}]"],
            "there is no data file more.jsonl",
        ),
    ],
)
def test_a_file_that_is_missing_is_reported_before_the_model_is_opened(
    words: list[str], told: str, data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        pytest.fail("that takes seconds, or hours of a queue")

    monkeypatch.setattr(testing.EchoBackend, "open", opened)
    plan = testing.plan([word.format(file=data_file) for word in words], run_dir=tmp_path / "run")
    with pytest.raises(FrameworkError, match=told):
        pipeline.run(plan)
    assert not (tmp_path / "run").exists()


def test_a_part_of_the_stages_goes_on_from_a_finished_run(words: list[str], tmp_path: Path) -> None:
    first = run([*words, "stages=[plan,data,baseline,train]"], tmp_path)
    assert first is None
    trained = (tmp_path / "train.json").read_bytes()
    report = run([*words, "stages=[evaluate,export,report]"], tmp_path)
    assert report is not None
    assert (report.metrics["exact_match"].before, report.metrics["exact_match"].after) == (0.0, 1.0)
    assert report.train is not None
    assert report.train.steps == 20
    assert (tmp_path / "train.json").read_bytes() == trained


@pytest.mark.parametrize(
    ("stage", "lacking"),
    [("evaluate", "trained weights"), ("export", "trained weights"), ("report", "run to report on")],
)
def test_in_an_empty_folder_there_is_nothing_to_evaluate_export_or_report(
    words: list[str], tmp_path: Path, stage: str, lacking: str
) -> None:
    run_dir = tmp_path / "new"
    with pytest.raises(FrameworkError, match=f"^the folder {run_dir} does not exist: run the train stage first"):
        run([*words, f"stages=[{stage}]"], run_dir)
    assert not run_dir.exists()
    run_dir.mkdir()
    with pytest.raises(FrameworkError, match=f"^{run_dir} holds no {lacking}: run the train stage first"):
        run([*words, f"stages=[{stage}]"], run_dir)
    assert not list(run_dir.iterdir())


@pytest.mark.parametrize(
    "mistake",
    [
        ["data.path=missing.jsonl"],
        ["data.overflow=fail", "trainer.max_seq_length=5"],
        ["trainer.max_seq_length=2"],
        ["format=chatml"],
    ],
    ids=lambda words: words[-1],
)
def test_a_mistake_in_the_data_stage_leaves_nothing_on_disk(
    words: list[str], tmp_path: Path, mistake: list[str]
) -> None:
    with pytest.raises(FrameworkError):
        run([*words, "logger=[console,jsonl]", *mistake], tmp_path / "a" / "run")
    assert not list(tmp_path.iterdir())


def test_the_validation_loss_is_no_objective_without_validation_rows(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "data.validation_split=0"]
    with pytest.raises(
        FrameworkError,
        match=r"set data\.validation_split=0\.1, or objective=exact_match\|token_f1\|tool_calls\|train_loss$",
    ):
        run(words, tmp_path / "run")
    assert not list(tmp_path.iterdir())
    report = run([*words, "objective=train_loss"], tmp_path / "run")
    assert report is not None
    assert "eval_loss" not in report.metrics


def test_loggers_are_notified_of_a_failure(words: list[str], tmp_path: Path) -> None:
    run([*words, "stages=[plan,data,train]", "logger=[jsonl]"], tmp_path)
    (tmp_path / "checkpoint" / "echo.json").unlink()
    with pytest.raises(FrameworkError, match=r"echo\.json is not what its training wrote"):
        run([*words, "stages=[evaluate]", "logger=[jsonl]"], tmp_path)
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert events[-1]["event"] == "failed"
    assert "and is missing now" in events[-1]["error"]


def test_training_again_drops_what_was_measured_on_the_weights_before(words: list[str], tmp_path: Path) -> None:
    run(words, tmp_path)
    report = run([*words, "stages=[train,report]", "trainer.max_steps=3"], tmp_path)
    assert report is not None
    assert report.train is not None
    assert report.train.steps == 3
    assert report.metrics["exact_match"] == Change(0.0, None, higher_is_better=True, kind=CONTENT, primary=True)
    assert report.artifacts == []
    assert not (tmp_path / "evaluate.json").exists()
    assert json.loads((tmp_path / "plan.json").read_text(encoding="utf-8"))["trainer"]["max_steps"] == 3


def test_other_prompts_are_answered_by_the_base_too(words: list[str], tmp_path: Path) -> None:
    run(words, tmp_path)
    report = run([*words, "stages=[evaluate,report]", "evaluator.prompts.count=2"], tmp_path)
    assert report is not None
    assert (report.metrics["exact_match"].before, report.metrics["exact_match"].after) == (0.0, 1.0)
    for name in ("baseline", "evaluate"):
        assert len(records.load(EvalResult, tmp_path / f"{name}.json").samples) == 2


def test_answers_to_other_prompts_are_not_set_beside_the_baseline_of_an_earlier_version(
    words: list[str], tmp_path: Path
) -> None:
    run(words, tmp_path)
    saved = records.load(EvalResult, tmp_path / "baseline.json")
    measures = {name: dataclasses.replace(measure, evaluator="") for name, measure in saved.measures.items()}
    samples = [dataclasses.replace(sample, evaluator="") for sample in saved.samples]
    older = dataclasses.replace(saved, measures=measures, samples=samples, settings={})
    records.save(older, tmp_path / "baseline.json")
    report = run([*words, "stages=[evaluate,report]", "evaluator.prompts.count=2"], tmp_path)
    assert report is not None
    assert report.metrics["exact_match"] == Change(None, 1.0, higher_is_better=True, kind=CONTENT, primary=True)
    assert report.metrics["eval_loss"].before


def test_a_finished_run_is_evaluated_by_one_more_evaluator_and_keeps_its_verdict(
    words: list[str], tmp_path: Path
) -> None:
    first = run([*words, "evaluator=[prompts]"], tmp_path)
    more = ["stages=[evaluate,report]", "evaluator=[memorization]", "evaluator.memorization.min_tokens=2"]
    report = run([*words, *more], tmp_path)
    assert first is not None
    assert report is not None
    assert first.verdict is not None
    assert report.verdict is not None
    assert report.verdict.summary == first.verdict.summary
    new = report.metrics.keys() - first.metrics.keys()
    assert {"verbatim_train", "common_run_train"} <= new
    assert all(None not in (report.metrics[name].before, report.metrics[name].after) for name in new)
    assert {name: report.metrics[name] for name in first.metrics} == first.metrics
    assert {sample.evaluator for sample in records.load(EvalResult, tmp_path / "evaluate.json").samples} == {"prompts"}
    both = run([*words, "stages=[evaluate,report]", "evaluator=[prompts]"], tmp_path)
    assert both is not None
    assert both.metrics == report.metrics


def test_weights_that_are_evaluated_from_elsewhere_keep_nothing_of_those_before(
    words: list[str], tmp_path: Path
) -> None:
    run([*words, "trainer.max_steps=3", "seed=2"], tmp_path / "other")
    run(words, tmp_path / "run")
    other = f"checkpoint={tmp_path / 'other' / 'checkpoint'}"
    again = [*words, "stages=[evaluate,report]", "evaluator=[memorization]", "evaluator.memorization.min_tokens=2"]
    report = run([*again, other], tmp_path / "run")
    assert report is not None
    assert "exact_match" not in records.load(EvalResult, tmp_path / "run" / "evaluate.json").measures
    assert report.metrics["verbatim_train"].after is not None


def test_an_objective_that_nothing_measures_is_refused(words: list[str], tmp_path: Path) -> None:
    with pytest.raises(FrameworkError, match="objective=exact_match needs an evaluator, but none is chosen"):
        run([*words, "objective=exact_match", "evaluator=[]"], tmp_path)


@pytest.mark.parametrize("folder", ["..", "/x/y", "checkpoint"])
def test_an_exporter_keeps_to_a_folder_of_its_own(words: list[str], tmp_path: Path, folder: str) -> None:
    with pytest.raises(FrameworkError, match="must be one plain name inside the run folder"):
        run([*words, f"exporter.adapter.folder={folder}"], tmp_path)


class Listener:
    """A plugin that records the events it receives."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.results: dict[Stage, Any] = {}
        self.seconds: dict[str, float] = {}
        self.reports: list[Report | None] = []
        self.errors: list[BaseException] = []
        self.folders: list[bool] = []

    @hookimpl
    def framework_run_started(self, plan: Plan) -> None:
        self.calls.append("started")
        self.folders.append((plan.run_dir / "data.json").exists())

    @hookimpl
    def framework_stage_finished(self, plan: Plan, stage: Stage, result: Any, seconds: float) -> None:
        self.calls.append(stage.value)
        self.folders.append((plan.run_dir / f"{stage.value}.json").exists())
        self.results[stage] = result
        self.seconds[stage.value] = seconds

    @hookimpl
    def framework_run_finished(self, report: Report | None) -> None:
        self.calls.append("finished")
        self.reports.append(report)

    @hookimpl
    def framework_run_failed(self, error: BaseException) -> None:
        self.calls.append("failed")
        self.errors.append(error)


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Give a plugin that is registered for the length of a test."""
    found = Listener()
    current().plugins.add(found, name="listener")
    yield found
    current().plugins.manager.unregister(name="listener")


def test_hooks_of_a_run_come_in_order_with_the_records_that_were_saved(
    words: list[str], tmp_path: Path, listener: Listener
) -> None:
    report = run(words, tmp_path)
    assert report is not None
    assert listener.calls == ["started", "data", "baseline", "train", "evaluate", "export", "report", "finished"]
    assert all(listener.folders)
    kinds = {
        Stage.data: DataResult,
        Stage.baseline: EvalResult,
        Stage.train: TrainResult,
        Stage.evaluate: EvalResult,
        Stage.export: ExportResult,
        Stage.report: Report,
    }
    assert {stage: type(result) for stage, result in listener.results.items()} == kinds
    assert listener.results[Stage.train] == records.load(TrainResult, tmp_path / "train.json")
    assert report.seconds.items() <= {**listener.seconds, "plan": report.seconds["plan"]}.items()
    assert listener.reports == [report]


def test_hook_run_failed_gets_the_error_before_and_after_the_start(
    words: list[str], tmp_path: Path, listener: Listener
) -> None:
    with pytest.raises(FrameworkError) as refused:
        run([*words, "data.path=missing.jsonl"], tmp_path / "new")
    run([*words, "stages=[plan,data,train]"], tmp_path / "run")
    (tmp_path / "run" / "checkpoint" / "echo.json").unlink()
    with pytest.raises(FrameworkError) as failed:
        run([*words, "stages=[evaluate]"], tmp_path / "run")
    assert listener.calls == ["failed", "started", "data", "train", "finished", "started", "data", "failed"]
    assert listener.errors == [refused.value, failed.value]
    assert listener.reports == [None]  # a part of the stages makes no report
    assert not (tmp_path / "new").exists()


def test_the_plan_stage_alone_starts_nothing_that_plugins_are_notified_of(tmp_path: Path, listener: Listener) -> None:
    run(["data=local_file", "data.path=missing.jsonl", "stages=[plan]", f"run_dir={tmp_path / 'run'}"], tmp_path)
    assert listener.calls == []


class Broken:
    """A plugin that raises in each of its hooks."""

    @hookimpl
    def framework_run_started(self) -> None:
        raise LookupError

    @hookimpl
    def framework_stage_finished(self) -> None:
        raise LookupError

    @hookimpl
    def framework_run_finished(self) -> None:
        raise FrameworkError


def test_a_hook_that_raises_is_named_and_the_run_goes_on(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    current().plugins.add(Broken(), name="broken_hooks")
    try:
        assert run(words, tmp_path) is not None
    finally:
        current().plugins.manager.unregister(name="broken_hooks")
    told = [line for line in capsys.readouterr().err.splitlines() if "broken_hooks" in line]
    assert len(told) == 3
    assert told[0].startswith("plugin 'broken_hooks': framework_run_started is skipped: LookupError: no message (")
