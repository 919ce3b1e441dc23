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
        self._all: dict[str, Callback] = {f"callback.{name}": choice.create() for name, choice in chosen.items()}

    def on_step(self, step: Step) -> StepControl:
        """Ask all, and return what they want together. They do not see the steps of an earlier process again.

        Raises:
            FrameworkError: one raises, or returns something else than a `StepControl` that can be obeyed.
        """
        rate, keep, stop = 1.0, False, ""
        for name, callback in () if step.repeated else self._all.items():
            where = f"{name}, step {step.step}"
            with Guard(f"{where}: on_step fails"):
                control: Any = callback.on_step(step)
            if control is None:
                continue
            if not isinstance(control, StepControl):
                raise FrameworkError(f"{where}: on_step returns {type(control).__name__}, not a StepControl or None")
            if not (isinstance(control.rate, int | float) and 0 < control.rate <= sys.float_info.max):
                raise FrameworkError(f"{where}: rate={control.rate} must be a number above 0")
            rate, keep = rate * control.rate, keep or control.keep
            stop = stop or (f"step {step.step}, {name}: {control.stop}" if control.stop else "")
        return StepControl(rate, keep, stop)

    def state(self) -> Mapping[str, Any]:
        """Return what all need to continue.

        Raises:
            FrameworkError: one raises, or has a state that is not made from plain values.
        """
        return {name: _state(name, callback) for name, callback in self._all.items()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Give each what it had, and look whether it has that now.

        Raises:
            FrameworkError: it has not, or raises.
        """
        for name, callback in self._all.items():
            if name not in saved:
                raise FrameworkError(f"{name}: the checkpoint has no state of it")
            with Guard(f"{name}: restore fails"):
                callback.restore(saved[name])
            if (now := _state(name, callback)) != saved[name]:
                raise FrameworkError(f"{name}: the state after restore is {now}, and {saved[name]} was saved")


def _state(name: str, callback: Callback) -> Any:
    with Guard(f"{name}: state fails"):
        state = callback.state()
    with Caught():
        plain = json.loads(json.dumps(state))
        if isinstance(state, Mapping) and plain == dict(state):
            return plain
    raise FrameworkError(
        f"{name}: its state has to map texts to numbers, texts, lists and such mappings, not to be {short_repr(state)}"
    )
