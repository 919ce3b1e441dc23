"""What happens in a run, as one stream of events: loggers get every event, lifecycle hooks those that have a hook.

    StageStarted(plan)   RunPlanned, ForecastUpdated             StageFinished(plan)
    StageStarted(data)   ForecastUpdated, RunStarted             StageFinished(data)
    StageStarted(train)  TrainingStep and IssueFound, repeated   StageFinished(train)
    …                    every other stage that is selected has its two events; IssueFound may follow the evaluation
    ProgressMade         within any stage, while long work is counted; between plan and data, while libraries are loaded
    RunFinished          unless `stages=[plan]`; an error ends the stream with RunFailed, one of an exporter after this

Loggers ignore events that they do not know, so a new event breaks no logger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.api.plan import Plan
from framework.api.records import (
    DataResult,
    EvalResult,
    ExportResult,
    Forecast,
    Progress,
    Report,
    Sample,
    Step,
    TrainingIssue,
    TrainResult,
)
from framework.api.schema import Stage

__all__ = [
    "Event",
    "ForecastUpdated",
    "IssueFound",
    "ProgressMade",
    "RunFailed",
    "RunFinished",
    "RunPlanned",
    "RunStarted",
    "StageFinished",
    "StageStarted",
    "TrainingStep",
]


@dataclass(frozen=True)
class Event:
    """The base of all events."""


@dataclass(frozen=True)
class RunPlanned(Event):
    """The plan is complete, with the changes of `plan.apply`. Nothing is written yet; the data may still be refused."""

    plan: Plan


@dataclass(frozen=True)
class ForecastUpdated(Event):
    """What the run needs: sent after `RunPlanned`, and again with the rows that the data stage found."""

    forecast: Forecast


@dataclass(frozen=True)
class RunStarted(Event):
    """Everything is checked and the run folder exists: the time to open files and connections.

    Attributes:
        plan: the run; `plan.run_dir` is its folder.
        data: the result of the data stage, as in its `StageFinished`, for loggers that describe the run when they open.
        hardware: the machine, and what was picked for it, by name.
    """

    plan: Plan
    data: DataResult
    hardware: Mapping[str, str]


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins."""

    stage: Stage


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage is complete, and its result is saved as `<stage>.json`.

    Attributes:
        stage: which one.
        result: what was saved; None for the plan. Only the baseline and the evaluation give an `EvalResult`.
        seconds: from its start until its result was saved.
    """

    stage: Stage
    result: DataResult | EvalResult | TrainResult | ExportResult | Report | None
    seconds: float


@dataclass(frozen=True)
class TrainingStep(Event):
    """An entry of the training log. A step that is sent twice has a validation the second time."""

    step: Step


@dataclass(frozen=True)
class IssueFound(Event):
    """A problem of the training, sent after the step that shows it, or after the evaluation.

    Attributes:
        issue: the problem.
        repeated: whether an earlier process of this run found it, and showed it.
    """

    issue: TrainingIssue
    repeated: bool = False


@dataclass(frozen=True)
class ProgressMade(Event):
    """Progress within a stage: sent when a count begins, about once a second, and when it is complete.

    The steps of a training are `TrainingStep`; what is measured between two steps is sent as this.

    Attributes:
        stage: the stage in progress.
        progress: how far it is.
    """

    stage: Stage
    progress: Progress


@dataclass(frozen=True)
class RunFinished(Event):
    """All requested stages are complete, and the memory of the model is free.

    If an exporter failed, `report.failed_exports` has its error, and `RunFailed` follows.

    Attributes:
        report: the report; None if its stage was not requested.
        samples: for each prompt the answer of the base, None if it was not asked, and that of the trained model.
    """

    report: Report | None
    samples: Sequence[tuple[Sample | None, Sample]]


@dataclass(frozen=True)
class RunFailed(Event):
    """The run ends with an error; it may be a `KeyboardInterrupt`, or come before `RunPlanned`."""

    error: BaseException
