"""What happens around each stage of a run: its result is saved, its time is taken, and its events are sent.

A full disk is reported in the same two lines, whichever library it was that wrote.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from framework.api.events import StageFinished, StageStarted
from framework.api.plan import Plan
from framework.api.run_folder import OVERRIDES
from framework.api.schema import Stage
from framework.run.events import Events
from framework.run.interruption import resume_command
from framework.rundir.folder import WritableRunFolder
from framework.util.cache import cache_dir, of_the_cache
from framework.util.errors import FrameworkError
from framework.util.files import describe_room, write_failure

T = TypeVar("T")


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
def naming_full_disk(plan: Plan) -> Iterator[None]:
    """Turn what a disk that takes no more has libraries raise into two lines.

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
        place = Path(str(error.filename or plan.run_dir)) if isinstance(error, OSError) else plan.run_dir
        again = "start the run again, or set run_dir=FOLDER on another disk"
        if place.absolute().is_relative_to(cache_dir().absolute()):
            again = "start the run again, or set FRAMEWORK_CACHE=FOLDER on another disk"
        elif (plan.run_dir / OVERRIDES).exists():
            again = f"continue with: {resume_command(plan.run_dir.parent if plan.sweep else plan.run_dir)}"
        raise FrameworkError(
            f"{place} cannot be written: {reason} ({describe_room(place)})\nMake room there, then {again}"
        ) from error
