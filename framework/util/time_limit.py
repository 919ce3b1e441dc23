"""A call with a limit of time: `within(60, call)` returns what `call` returns, or raises `TookTooLongError`.

In the main thread an alarm of the system ends the call wherever it is: in a computation, in a regular expression that
never ends, in a read. A call may use the alarm itself, as timeouts of libraries do: a thread sets ours again after
that. Elsewhere, and on Windows, the call gets a thread of its own, which is left behind.
"""

from __future__ import annotations

import contextvars
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

Result = TypeVar("Result")
ALARM = getattr(signal, "SIGALRM", None)
AGAIN = 1.0
"""Seconds until the next alarm, for a call that catches whatever is raised in it."""
SOON = 0.001
"""Seconds until an alarm that is due."""
LOOK = 0.1
"""Seconds between two looks whether the call has switched the alarm off."""


class TookTooLongError(Exception):
    """A call took longer than it may."""


class Alarm(BaseException):
    """Is raised in a call: not an `Exception`, since much code takes any of those for a result."""


def within(seconds: float, call: Callable[[], Result]) -> Result:
    """Return what a call returns.

    Raises:
        TookTooLongError: it takes longer.
    """
    if ALARM is None or threading.current_thread() is not threading.main_thread():
        return in_thread(call, seconds)
    delay, interval = signal.getitimer(signal.ITIMER_REAL)
    if 0 < delay < seconds:  # someone's alarm comes first
        return call()
    rung, begun = False, time.monotonic()
    finished, lock = threading.Event(), threading.Lock()

    def ring(signum: int, frame: FrameType | None) -> None:
        nonlocal rung
        del signum, frame
        if not finished.is_set():
            rung = True
            raise Alarm

    def end() -> None:
        with lock:
            finished.set()
            signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(ALARM, ring)
    keeper = threading.Thread(target=_keep_alarm, args=(begun + seconds, finished, lock), daemon=True)
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
            keeper.start()
            result = call()
        finally:
            end()
    except Alarm:
        rung = True
    finally:
        end()  # the alarm may have come between the call and the line above
        signal.signal(ALARM, before)
        if delay:
            signal.setitimer(signal.ITIMER_REAL, max(delay - time.monotonic() + begun, SOON), interval)
    if rung:
        raise TookTooLongError
    return result


def _keep_alarm(deadline: float, finished: threading.Event, lock: threading.Lock) -> None:
    """Set the alarm of a call again whenever the call has switched it off, or has its own when its time is over."""
    while not finished.wait(LOOK):
        remaining = deadline - time.monotonic()
        with lock:
            if not finished.is_set() and (remaining < -AGAIN or not signal.getitimer(signal.ITIMER_REAL)[0]):
                signal.setitimer(signal.ITIMER_REAL, max(remaining, SOON), AGAIN)


def in_thread(call: Callable[[], Result], seconds: float | None = None) -> Result:
    """Return what a call returns, in a thread of its own.

    Raises:
        TookTooLongError: it takes longer than `seconds`.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised by the caller
            errors.append(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)  # the end of the process waits for none
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TookTooLongError
    return results[0]
