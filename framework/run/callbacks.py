"""The callbacks of a run: asked after each log entry, and saved with each checkpoint.

They see what monitors see, and answer with what a backend can do anyway. A monitor that raises is left out, since a
training does not depend on it; a callback that raises ends the run, since the training would be another one without it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from framework.api.protocols import Callback
from framework.api.records import Step, StepControl
from framework.api.selection import Selection
from framework.util.errors import FrameworkError
from framework.util.guard import Caught, Guard, short_repr


class Callbacks:
    """Those of one training.

    Args:
        chosen: those of the plan, by name.
    """

    def __init__(self, chosen: Mapping[str, Selection]) -> None:
        self._all: dict[str, Callback] = {f"callback.{name}": one.create() for name, one in chosen.items()}

    def on_step(self, step: Step) -> StepControl:
        """Ask all, and return what they want together. They do not see the steps of an earlier process again.

        Raises:
            FrameworkError: one raises, or returns something else than a `StepControl` that can be obeyed.
        """
        rate, keep, stop = 1.0, False, ""
        for place, callback in () if step.repeated else self._all.items():
            where = f"{place}, step {step.step}"
            with Guard(f"{where}: on_step fails"):
                asked: Any = callback.on_step(step)
            if asked is None:
                continue
            if not isinstance(asked, StepControl):
                raise FrameworkError(f"{where}: on_step returns {type(asked).__name__}, not a StepControl or None")
            if not (isinstance(asked.rate, int | float) and 0 < asked.rate <= sys.float_info.max):
                raise FrameworkError(f"{where}: rate={asked.rate} must be a number above 0")
            rate, keep = rate * asked.rate, keep or asked.keep
            stop = stop or (f"step {step.step}, {place}: {asked.stop}" if asked.stop else "")
        return StepControl(rate, keep, stop)

    def state(self) -> Mapping[str, Any]:
        """Return what all need to continue.

        Raises:
            FrameworkError: one raises, or has a state that is not made from plain values.
        """
        return {place: _state(place, callback) for place, callback in self._all.items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Give each what it had, and look whether it has that now.

        Raises:
            FrameworkError: it has not, or raises.
        """
        for place, callback in self._all.items():
            if place not in saved:
                raise FrameworkError(f"{place}: the checkpoint has no state of it")
            with Guard(f"{place}: restore fails"):
                callback.restore(saved[place])
            if (now := _state(place, callback)) != saved[place]:
                raise FrameworkError(f"{place}: the state after restore is {now}, and {saved[place]} was saved")


def _state(place: str, callback: Callback) -> Any:
    with Guard(f"{place}: state fails"):
        found = callback.state()
    with Caught():
        plain = json.loads(json.dumps(found))
        if isinstance(found, Mapping) and plain == dict(found):
            return plain
    raise FrameworkError(
        f"{place}: its state has to map texts to numbers, texts, lists and such mappings, not to be {short_repr(found)}"
    )
