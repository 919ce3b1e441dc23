"""`logger=jsonl`: every event of a run as one line of JSON, secrets taken out, flushed at once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from framework.api.plan import as_plain
from framework.api.protocols import Logger
from framework.api.records import DataResult, EvalResult, Report, Sample, Step, Trouble
from framework.api.text import one_line, redact
from framework_plugins.trackers.config import JsonlConfig


class Jsonl(Logger):
    """A file of events."""

    def __init__(self, config: JsonlConfig) -> None:
        self.config = config
        self.file: IO[str] | None = None

    def _write(self, event: str, **values: Any) -> None:
        if self.file is not None:
            self.file.write(json.dumps(redact({"event": event, **values})) + "\n")
            self.file.flush()

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Open the file; a run that goes on appends."""
        self.file = (run_dir / self.config.file).open("a", encoding="utf-8")
        self._write("started", data=as_plain(data), hardware=dict(facts))

    def stage_started(self, stage: str) -> None:
        """Write the stage."""
        self._write("stage", stage=stage)

    def step(self, step: Step) -> None:
        """Write the step."""
        self._write("step", **asdict(step))

    def trouble(self, trouble: Trouble) -> None:
        """Write the trouble."""
        self._write("trouble", **as_plain(trouble))

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Write the means."""
        self._write("evaluated", before=before, metrics=result.figures)

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:  # noqa: ARG002
        """Write the objective, the measures and the verdict."""
        found = as_plain(report)
        self._write("finished", **{name: found[name] for name in ("objective", "metrics", "verdict")})

    def failed(self, error: BaseException) -> None:
        """Write the error."""
        self._write("failed", error=one_line(error))

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None
