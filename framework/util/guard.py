"""Calls of code that is not ours: a part of a run, a hook, a file of the user.

    with Guard("loss=focal"):            # whatever the part raises becomes a `FrameworkError` that names it
        value = objective(scores)

    with Caught() as failed:             # the part is left out, and the run continues
        monitor.check(step)
    if failed.error: ...

A part may raise anything: an `Exception`, `sys.exit`, a cancelled task, an exception that cannot be printed. What asks
the run itself to end is raised on: Ctrl-C, a signal, the alarm of a time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from framework.util.errors import FrameworkError, describe_error
from framework.util.time_limit import Alarm

OF_THE_RUN = (KeyboardInterrupt, Alarm)
"""What ends the run itself, wherever it is raised."""
SHOWN_CHARACTERS = 60
"""Characters of a value that a message shows."""


class Caught:
    """A context that keeps what a part raises.

    Args:
        passing: types that are raised on.
        passes: returns whether an exception is raised on.

    Attributes:
        error: what was raised.
    """

    error: BaseException | None = None

    def __init__(
        self,
        *passing: type[BaseException],
        passes: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self.passing = (*OF_THE_RUN, *passing)
        self.passes = passes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> bool:
        if error is None or isinstance(error, self.passing) or self.passes(error):
            return False
        self.error = error
        return True


class Guard:
    """A context in which whatever a part raises is an error of that part, with the place in its file.

    Args:
        part: what is called, as the message begins; a function if making it takes time.
        passing: as in `Caught`.
        passes: as in `Caught`. A `FrameworkError` is raised on: it is in words already.

    Raises:
        FrameworkError: the part raises something else.
    """

    def __init__(
        self,
        part: str | Callable[[], str],
        *passing: type[BaseException],
        passes: Callable[[BaseException], bool] = lambda _: False,
    ) -> None:
        self.part = part
        self.caught = Caught(FrameworkError, *passing, passes=passes)

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and self.caught.__exit__(kind, error, trace):
            part = self.part if isinstance(self.part, str) else self.part()
            raise FrameworkError(f"{part}: {describe_error(error)}") from error
        return False


def shown(value: Any, most: int = SHOWN_CHARACTERS) -> str:
    """Return the beginning of a value as Python writes it; its type if it cannot be written."""
    with Caught():
        return repr(value)[:most]
    return f"a value of the type {type(value).__name__}"
