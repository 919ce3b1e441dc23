"""`logger=trackio`: the run in trackio's store on this machine, shown by `trackio show`.

Everything is redacted before trackio sees it: config, numbers, answers, report and the text of an error.
"""

from __future__ import annotations

import contextlib
import io
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import trackio
from trackio.utils import TRACKIO_DIR

from framework import Plan, Stage
from framework.api import (
    Action,
    DataResult,
    EvalResult,
    Event,
    IssueFound,
    Logger,
    Report,
    RunFailed,
    RunFinished,
    RunStarted,
    Sample,
    StageFinished,
    TrainingStep,
    as_plain,
    redact,
    summarize_error,
)
from framework_trackio.config import TrackioConfig

COLUMNS = ("prompt", "reference", "before", "after")


class Trackio(Logger):
    """One run of trackio."""

    def __init__(self, config: TrackioConfig) -> None:
        self.config = config
        self.run: Any = None
        self.last_step = 0
        self.exit_code = 0

    def log(self, event: Event) -> None:
        """Log the event; trackio's run is opened when the run starts."""
        match event:
            case RunStarted(plan, data, hardware):
                self._open(plan, data, hardware)
            case TrainingStep(step):
                self.last_step = step.step
                self._log({f"train/{name}": value for name, value in _numbers(step).items() if name != "step"})
            case IssueFound(issue):
                level = trackio.AlertLevel.ERROR if issue.action is Action.stop else trackio.AlertLevel.WARN
                self._alert(issue.kind, issue.line, level, issue.step)
            case StageFinished(stage, EvalResult() as result):
                prefix = "before" if stage is Stage.baseline else "after"
                self._log({f"{prefix}/{name}": value for name, value in result.figures.items()})
            case RunFinished(Report() as report, samples):
                self._log_report(report, samples)
            case RunFailed(error):  # trackio knows no state of a run, so that an alert has to say it
                self.exit_code = 1
                self._alert("run failed", summarize_error(error), trackio.AlertLevel.ERROR, self.last_step)

    def _open(self, plan: Plan, data: DataResult, hardware: Mapping[str, str]) -> None:
        """Open the run, and write the config at once: a run that fails at its first step is to show it too."""
        settings = self.config
        about = {
            "project": settings.project,
            "group": settings.group,
            "name": settings.run_name or f"{plan.name}-{plan.run_dir.name}",
            "config": {**plan.config, "data_result": as_plain(data), "hardware": dict(hardware)},
        }
        with _quiet():
            self.run = trackio.init(
                **redact(about),
                embed=False,
                # None: what can be measured here
                auto_log_cpu=None if settings.system else False,
                auto_log_gpu=None if settings.system else False,
                cpu_log_interval=settings.system_interval,
                gpu_log_interval=settings.system_interval,
            )
        self._log({})  # trackio stores the config with the first entry

    def _log(self, values: Mapping[str, Any]) -> None:
        if self.run is not None:
            self.run.log(dict(values), step=self.last_step)

    def _alert(self, title: str, text: str, level: trackio.AlertLevel, step: int) -> None:
        if self.run is not None:
            with _quiet():
                self.run.alert(title, redact(text), level=level, step=step)

    def _log_report(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Log the answers as a table, the report as text, and its numbers beside those of other runs."""
        shown = samples[: self.config.answers]
        rows = [
            [after.prompt, after.reference, before.answer if before else None, after.answer] for before, after in shown
        ]
        if rows:
            self._log({"answers": trackio.Table(columns=list(COLUMNS), data=redact(rows))})
        text = json.dumps(redact(as_plain(report)), indent=1, ensure_ascii=False)
        numbers = {f"report/{name}": value for name, value in _numbers(report).items()}
        self._log({**numbers, "report": trackio.Markdown(f"```json\n{text}\n```")})

    def close(self) -> None:
        """Write the rest and say where it is."""
        if self.run is None:
            return
        self._log({"exit_code": self.exit_code})
        run, self.run = self.run, None
        with _quiet():
            trackio.finish()
        command = f"trackio show --project {shlex.quote(run.project)}"
        print(f"trackio: logged to {TRACKIO_DIR}; look at it with: {command}", file=sys.stderr)  # noqa: T201 - once a run


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what trackio prints out of the console's picture."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def _numbers(record: Any) -> dict[str, float]:
    """Return the numbers of a record by their path, `metrics/exact_match/after`."""
    return dict(_walk(as_plain(record), ""))


def _walk(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _walk(part, f"{path}/{name}" if path else str(name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value
