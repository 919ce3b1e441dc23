"""Each event reaches the loggers, then its hook. A failing logger is switched off; the run continues."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from framework import hookimpl, testing
from framework.api.events import (
    Event,
    IssueFound,
    ProgressMade,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageFinished,
    StageStarted,
    TrainingStep,
)
from framework.api.plan import Plan
from framework.api.protocols import Logger
from framework.api.records import EvalResult, ExportResult, Report, Step, TrainResult
from framework.api.schema import Stage
from framework.hooks.session import current
from framework.run import pipeline
from framework.run.stages import Events


class Listener(Logger):
    """Remembers what it got."""

    def __init__(self) -> None:
        self.got: list[Event] = []
        self.closed = 0

    def log(self, event: Event) -> None:
        self.got.append(event)

    def close(self) -> None:
        self.closed += 1


class Raises(Listener):
    """Fails at the second event."""

    def log(self, event: Event) -> None:
        super().log(event)
        if len(self.got) > 1:
            raise ConnectionError("the tracker is gone\nfor good")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return testing.plan([], run_dir=tmp_path / "run")


def test_a_logger_that_raises_is_named_once_and_the_others_get_all(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, first, last = Raises(), Listener(), Listener()
    sent = [StageStarted(stage) for stage in (Stage.plan, Stage.data, Stage.train)]
    with Events(plan, current()) as events:
        events.loggers = {"first": first, "broken": broken, "last": last}
        for event in sent:
            events.send(event)
    assert first.got == last.got == sent
    assert broken.got == sent[:2]
    assert (first.closed, broken.closed, last.closed) == (1, 1, 1)
    said = capsys.readouterr().err
    assert said == "logger 'broken' failed and is switched off: ConnectionError: the tracker is gone\n"


def test_an_interrupt_is_not_taken_for_a_failing_logger(plan: Plan) -> None:
    class Interrupted(Listener):
        def log(self, event: Event) -> None:
            super().log(event)
            if isinstance(event, StageStarted):
                raise KeyboardInterrupt

    logger, events = Interrupted(), Events(plan, current())
    events.loggers = {"console": logger}
    with pytest.raises(KeyboardInterrupt), events:
        events.send(StageStarted(Stage.train))
    assert [type(event) for event in logger.got] == [StageStarted, RunFailed]
    assert logger.closed == 1


def test_a_logger_without_log_cannot_be_made() -> None:
    class Silent(Logger):
        pass

    with pytest.raises(TypeError, match="log"):
        Silent()  # type: ignore[abstract]


def test_a_hook_gets_the_plan_as_it_was_changed_and_comes_after_the_loggers(plan: Plan) -> None:
    order: list[Any] = []

    class Noting(Logger):
        def log(self, event: Event) -> None:
            order.append(type(event).__name__)

    class Plugin:
        @hookimpl
        def framework_run_failed(self, plan: Plan, error: BaseException) -> None:
            order.append((plan, error))

    plugin, changed, error = Plugin(), testing.plan(["seed=7"], run_dir=plan.run_dir), OSError("full")
    events = Events(plan, current())
    events.loggers = {"noting": Noting()}
    current().plugins.add(plugin, name="noting")
    try:
        events.send(RunPlanned(changed))
        events.send(RunFailed(error))
    finally:
        current().plugins.manager.unregister(plugin)
    assert order == ["RunPlanned", "RunFailed", (changed, error)]


def test_a_run_sends_its_events_in_the_documented_order(
    data_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    monkeypatch.setattr(Events, "_call_each", lambda _, call: call(listener))
    words = ["data=local_file", f"data.path={data_file}", "trainer.max_steps=2", "trainer.losses=[1,inf]"]
    report = pipeline.run(testing.plan([*words, "health.nan=warn"], run_dir=tmp_path))
    names = [
        f"{type(event).__name__}({event.stage.value})"
        if isinstance(event, StageStarted | StageFinished)
        else type(event).__name__
        for event in listener.got
        if not isinstance(event, ProgressMade)
    ]
    rest = ("evaluate", "export", "report")
    assert names == [
        *("StageStarted(plan)", "RunPlanned", "ForecastUpdated", "StageFinished(plan)"),
        *("StageStarted(data)", "ForecastUpdated", "RunStarted", "StageFinished(data)"),
        *("StageStarted(baseline)", "StageFinished(baseline)"),
        *("StageStarted(train)", "TrainingStep", "TrainingStep", "IssueFound", "StageFinished(train)"),
        *(f"{kind}({stage})" for stage in rest for kind in ("StageStarted", "StageFinished")),
        "RunFinished",
    ]
    (started,) = (event for event in listener.got if isinstance(event, RunStarted))
    finished = {event.stage: event for event in listener.got if isinstance(event, StageFinished)}
    kinds = {Stage.baseline: EvalResult, Stage.train: TrainResult, Stage.evaluate: EvalResult}
    kinds |= {Stage.export: ExportResult, Stage.report: Report}
    assert {stage: type(finished[stage].result) for stage in kinds} == kinds
    assert finished[Stage.plan].result is None
    assert finished[Stage.data].result == started.data
    last = listener.got[-1]
    assert isinstance(last, RunFinished)
    assert last.report == finished[Stage.report].result == report
    assert len(last.samples) == started.data.prompts
    assert [event.step.step for event in listener.got if isinstance(event, TrainingStep)] == [1, 2]
    assert [event.issue.kind for event in listener.got if isinstance(event, IssueFound)] == ["nan"]


def test_a_run_whose_log_cannot_be_written_finishes(
    data_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.jsonl").mkdir()
    (tmp_path / "overrides.json").write_text("[]", encoding="utf-8")  # of an earlier run
    words = ["data=local_file", f"data.path={data_file}", "logger=[jsonl]", "logger.jsonl.file=taken.jsonl"]
    assert pipeline.run(testing.plan(words, run_dir=tmp_path))
    assert "logger 'jsonl' failed and is switched off: IsADirectoryError" in capsys.readouterr().err


def test_loggers_get_no_secret_that_a_training_says(plan: Plan) -> None:
    name = "mine hf_Aq1Zx9Lm2Wn8Er3Ty7Ui4Op6Pk5SdFgHj2"
    step = Step(1, 2, 0.5, 0.1, 1e-4, 1.0, 8, 1.0, loss_metrics={name: 1.0}, metrics={"exact_match": 1.0})
    listener = Listener()
    with Events(plan, current()) as events:
        events.loggers = {"first": listener}
        events.send(TrainingStep(step))
    assert listener.got == [TrainingStep(dataclasses.replace(step, loss_metrics={"mine (hidden)": 1.0}))]
