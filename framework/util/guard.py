"""Calls of code that is not ours: a part of a run, a hook, a file of the user.

    with Guard("loss=focal"):            # whatever the part raises becomes a `FrameworkError` that names it
        value = objective(scores)

    with Caught() as failed:             # the part is left out, and the run continues
        monitor.check(step)
    if failed.error: ...

A part may raise anything: an `Exception`, `sys.exit`, a cancelled task, an exception that cannot be printed. What asks
the run itself to end is raised on: Ctrl-C, a signal, the alarm of a time limit. So is a limit of the system, which is
nobody's mistake: a full disk, no more memory.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from framework.util.errors import FrameworkError, describe_error, of_the_system
from framework.util.files import write_failure
from framework.util.time_limit import Alarm, TookTooLongError, within

Result = TypeVar("Result")
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
        self.passing: tuple[type[BaseException], ...] = (*OF_THE_RUN, *passing)
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
        passes: as in `Caught`. A `FrameworkError` and a limit of the system are raised on.

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
        self.caught = Caught(FrameworkError, *passing, passes=lambda error: is_limit(error) or passes(error))

    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if error is not None and self.caught.__exit__(kind, error, trace):
            part = self.part if isinstance(self.part, str) else self.part()
            raise FrameworkError(f"{part}: {describe_error(error)}") from error
        return False


TRIAL_SECONDS = 60.0
"""What a part may take while it is tried, which takes a sound one far less."""


def try_out(part: str, call: Callable[[], Result]) -> Result:
    """Call a part before it is needed, and return what it returns.

    Raises:
        FrameworkError: it raises, or takes too long.
    """
    try:
        with Guard(part, TookTooLongError):
            return within(TRIAL_SECONDS, call)
    except TookTooLongError as error:
        raise FrameworkError(f"{part}: it takes longer than {TRIAL_SECONDS:g} s: look for what it waits for") from error


def is_limit(error: BaseException) -> bool:
    """Whether an exception is a limit of the system: a full disk, no more memory or files."""
    return of_the_system(error) is not None or bool(write_failure(error))


def short_repr(value: Any, most: int = SHOWN_CHARACTERS) -> str:
    """Return the beginning of a value as Python writes it; its type if it cannot be written."""
    with Caught():
        return repr(value)[:most]
    return f"a value of the type {type(value).__name__}"
