"""One logger that tells many. A logger that raises is switched off with a warning: trackers never end a run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.api.plan import Plan, Selection
from framework.api.protocols import Logger
from framework.api.records import DataResult, EvalResult, Forecast, Report, Sample, Step, Trouble
from framework.util.errors import one_line


class Broadcast(Logger):
    """Passes every call on to the loggers of a run."""

    def __init__(self, choices: Mapping[str, Selection]) -> None:
        self.loggers: dict[str, Logger] = {name: choice.create() for name, choice in choices.items()}

    def _tell(self, call: Callable[[Logger], Any]) -> None:
        for name, logger in list(self.loggers.items()):
            try:
                call(logger)
            except Exception as error:  # noqa: BLE001 - whatever a tracker's library raises, the run goes on
                del self.loggers[name]
                print(f"logger '{name}' failed and is switched off: {one_line(error)}", file=sys.stderr)  # noqa: T201
                _close(name, logger)

    def planned(self, plan: Plan) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.planned(plan))

    def forecast(self, forecast: Forecast) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.forecast(forecast))

    def started(self, run_dir: Path, data: DataResult, facts: Mapping[str, str]) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.started(run_dir, data, facts))

    def stage_started(self, stage: str) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.stage_started(stage))

    def step(self, step: Step) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.step(step))

    def trouble(self, trouble: Trouble) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.trouble(trouble))

    def evaluated(self, result: EvalResult, *, before: bool) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.evaluated(result, before=before))

    def finished(self, report: Report, samples: Sequence[tuple[Sample | None, Sample]]) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.finished(report, samples))

    def failed(self, error: BaseException) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.failed(error))

    def close(self) -> None:
        """Pass on."""
        self._tell(lambda logger: logger.close())


def _close(name: str, logger: Logger) -> None:
    """Let a logger that failed give back its files and connections."""
    try:
        logger.close()
    except Exception as error:  # noqa: BLE001 - as above
        print(f"logger '{name}' could not be closed: {one_line(error)}", file=sys.stderr)  # noqa: T201
