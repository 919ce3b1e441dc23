"""What happens around each stage of a run: its events are sent, its time is taken, and its result is saved.

Events go to the run's loggers and to the lifecycle hooks of every plugin; neither can end a run. Of a training in
several processes the loggers live in the process that was started; rank 0 of the group sends it each step, and the
other ranks send nothing. A full disk is reported in the same two lines, whichever library it was that wrote.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

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
from framework.api.records.saving import without_secrets
from framework.api.run_folder import OVERRIDES
from framework.api.schema import Stage
from framework.hooks.session import Session
from framework.run.interruption import resume_command
from framework.rundir.folder import WritableRunFolder
from framework.util.cache import cache_dir, of_the_cache
from framework.util.errors import FrameworkError, summarize_error
from framework.util.files import describe_room, write_failure
from framework.util.guard import Caught

T = TypeVar("T")


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
        """Send an event only to the loggers, without secrets in what a training, a plugin or a server says."""
        if not isinstance(event, RunPlanned | RunStarted | RunFailed):  # these hold a plan, or an exception
            event = without_secrets(event)
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
            failed = Caught()
            with failed:
                call(logger)
            if failed.error:  # whatever a tracker raises, the run continues
                del self.loggers[name]
                print(f"logger '{name}' failed and is switched off: {summarize_error(failed.error)}", file=sys.stderr)
                _close(name, logger)


def _close(name: str, logger: Logger) -> None:
    """Let a logger that failed give back its files and connections."""
    failed = Caught()
    with failed:
        logger.close()
    if failed.error:
        print(f"logger '{name}' could not be closed: {summarize_error(failed.error)}", file=sys.stderr)


class Stages:
    """Runs one stage after the other: `with stages.run(Stage.train): trained = stages.save(train(…))`.

    Attributes:
        seconds: how long each completed stage took.
    """

    def __init__(self, run_dir: Path, events: Events) -> None:
        self.seconds: dict[str, float] = {}
        self._folder = WritableRunFolder(run_dir)
        self._events = events
        self._stage = Stage.plan
        self._result: Any = None
        self._saved: float | None = None

    @contextmanager
    def run(self, stage: Stage) -> Iterator[None]:
        """Send that a stage starts and, unless it raises, that it is complete; it lasts until its result is saved."""
        self._stage, self._result, self._saved = stage, None, None
        self._events.send(StageStarted(stage))
        start = time.perf_counter()
        yield
        # Loggers and hooks that run after the result is saved are not part of the stage.
        end = time.perf_counter() if self._saved is None else self._saved
        self.seconds[stage.value] = seconds = round(end - start, 3)
        self._events.send(StageFinished(stage, self._result, seconds))

    def save(self, result: T) -> T:
        """Save the result of the running stage, replacing an earlier or partial one, and return it."""
        self._result = self._folder.save(self._stage, result)
        self._saved = time.perf_counter()
        return result


@contextmanager
def naming_full_disk(run_dir: Path, resumed: Path) -> Iterator[None]:
    """Turn what a disk that takes no more has libraries raise into two lines.

    Args:
        run_dir: the folder of the run.
        resumed: the folder that `resume` continues: that of the run, or of its sweep.

    Raises:
        FrameworkError: instead of that.
    """
    try:
        yield
    except FrameworkError:
        raise
    except Exception as error:
        if not (reason := write_failure(error)):
            if refused := of_the_cache(error):
                raise refused from error
            raise
        path = Path(str(error.filename or run_dir)) if isinstance(error, OSError) else run_dir
        again = "start the run again, or set run_dir=FOLDER on another disk"
        if path.absolute().is_relative_to(cache_dir().absolute()):
            again = "start the run again, or set FRAMEWORK_CACHE=FOLDER on another disk"
        elif (run_dir / OVERRIDES).exists():
            again = f"continue with: {resume_command(resumed)}"
        raise FrameworkError(
            f"{path} cannot be written: {reason} ({describe_room(path)})\nMake room there, then {again}"
        ) from error
