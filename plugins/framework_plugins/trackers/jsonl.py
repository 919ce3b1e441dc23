"""`logger=jsonl`: the progress of a run, a line of JSON for each event, secrets taken out, flushed at once."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import IO, Any

from framework import Stage
from framework.api import (
    EvalResult,
    Event,
    IssueFound,
    Logger,
    ProgressMade,
    Report,
    RunFailed,
    RunFinished,
    RunStarted,
    StageFinished,
    StageStarted,
    TrainingStep,
    as_plain,
    redact,
    summarize_error,
)
from framework_plugins.trackers.config import JsonlConfig


class Jsonl(Logger):
    """A file of events."""

    def __init__(self, config: JsonlConfig) -> None:
        self.config = config
        self.file: IO[str] | None = None
        self._before: list[str] = []

    def log(self, event: Event) -> None:
        """Write the event, with the first one also the earlier progress: the folder is made after the data are read.

        A resumed run appends.
        """
        match event:
            case RunStarted(plan, data, hardware):
                self.file = open(plan.run_dir / self.config.file, "a", encoding="utf-8", opener=_open_no_link)  # noqa: SIM115 - `close` closes it
                self._write("started", data=as_plain(data), hardware=dict(hardware))
                self.file.writelines(self._before)
                self.file.flush()
                self._before.clear()
            case StageStarted(stage) if stage is not Stage.report:  # that is the line `finished`
                self._write("stage", stage=stage.value)
            case TrainingStep(step):
                self._write("step", **asdict(step))
            case ProgressMade(stage, progress):
                self._write("progress", stage=stage.value, **asdict(progress))
            case IssueFound(issue):
                self._write("issue", **as_plain(issue))
            case StageFinished(stage, EvalResult() as result):
                self._write("evaluated", before=stage is Stage.baseline, metrics=result.figures)
            case RunFinished(Report() as report):
                values = as_plain(report)
                self._write("finished", **{name: values[name] for name in ("objective", "metrics", "verdict")})
            case RunFailed(error):
                self._write("failed", error=summarize_error(error))

    def _write(self, event: str, **values: Any) -> None:
        line = json.dumps(redact({"event": event, **values})) + "\n"
        if self.file is not None:
            self.file.write(line)
            self.file.flush()
        # Counts come before the folder is there; other events do not.
        elif event == "progress":
            self._before.append(line)

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None


def _open_no_link(path: str, flags: int) -> int:
    """Open a file that is not a link: a run folder from elsewhere may hold one to a file of the user."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
