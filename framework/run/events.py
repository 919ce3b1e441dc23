"""Sends the events of a run: to its loggers, and to the lifecycle hooks of every plugin. Neither can end a run.

Hours of training are worth more than a chart, so a logger that raises is switched off.

Of a training in several processes the loggers live in the process that was started; rank 0 of the group sends it each
step, and the other ranks send nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

from framework.api.events import (
    Event,
    ProgressMade,
    RunFailed,
    RunFinished,
    RunPlanned,
    RunStarted,
    StageFinished,
    StageStarted,
)
from framework.api.plan import Plan
from framework.api.protocols import Logger
from framework.api.schema import Stage
from framework.hooks.session import Session
from framework.util.errors import summarize_error


class Events:
    """The events of one run. As a context manager it sends `RunFailed` where an error comes, and closes the loggers.

    Attributes:
        loggers: those of the run by name; one that raises is taken out, with a warning.
    """

    def __init__(self, plan: Plan, session: Session) -> None:
        self._plan = plan
        self._plugins = session.plugins
        self._counts = session.progress
        self._stage = Stage.plan
        self.loggers: dict[str, Logger] = {name: choice.create() for name, choice in plan.logger.items()}

    def __enter__(self) -> Self:
        self._before, self._counts.send = (
            self._counts.send,
            lambda progress: self.send(ProgressMade(self._stage, progress)),
        )
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        """Send the error, if there is one, and close the loggers."""
        self._counts.send = self._before
        try:
            if error is not None:
                self.send(RunFailed(error))
        finally:
            self._call_each(lambda logger: logger.close())

    def show(self, event: Event) -> None:
        """Send an event only to the loggers."""
        self._call_each(lambda logger: logger.log(event))

    def send(self, event: Event) -> None:
        """Send an event to the loggers, then call the hook that belongs to it."""
        self.show(event)
        match event:
            case RunPlanned(plan):
                self._plan = plan  # the hooks get the plan as `plan.apply` has changed it
            case StageStarted(stage):
                self._stage = stage
            case RunStarted():
                self._plugins.notify("framework_run_started", plan=self._plan)
            case StageFinished(stage, result, seconds) if stage is not Stage.plan:  # it ends before the run starts
                self._plugins.notify(
                    "framework_stage_finished", plan=self._plan, stage=stage, result=result, seconds=seconds
                )
            case RunFinished(report):
                self._plugins.notify("framework_run_finished", plan=self._plan, report=report)
            case RunFailed(error):
                self._plugins.notify("framework_run_failed", plan=self._plan, error=error)

    def _call_each(self, call: Callable[[Logger], None]) -> None:
        # A copy: a logger that fails is taken out on the way.
        for name, logger in list(self.loggers.items()):
            try:
                call(logger)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a tracker raises, the run continues
                del self.loggers[name]
                print(f"logger '{name}' failed and is switched off: {summarize_error(error)}", file=sys.stderr)
                _close(name, logger)


def _close(name: str, logger: Logger) -> None:
    """Let a logger that failed give back its files and connections."""
    try:
        logger.close()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        print(f"logger '{name}' could not be closed: {summarize_error(error)}", file=sys.stderr)
