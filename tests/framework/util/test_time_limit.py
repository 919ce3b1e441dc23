"""framework/util/time_limit.py: a call ends at its limit, whatever it does."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
import time
from collections.abc import Callable

import pytest

from framework.util.time_limit import TookTooLongError, in_thread, within

LIMIT = 0.05


def waits() -> None:
    time.sleep(5)


def computes() -> None:
    re.match(r"(a+)+$", "a" * 40 + "b")  # it would take days, and leaves no other thread a turn


def swallows() -> None:
    with contextlib.suppress(Exception):
        time.sleep(5)


@pytest.mark.parametrize("other", [0.0, 60.0])
@pytest.mark.parametrize("call", [waits, computes, swallows])
def test_a_call_ends_at_its_limit_and_the_alarm_of_others_stays(call: Callable[[], None], other: float) -> None:
    kept, begun = signal.setitimer(signal.ITIMER_REAL, other), time.perf_counter()  # pytest has one, too
    try:
        before = signal.getsignal(signal.SIGALRM)
        with pytest.raises(TookTooLongError):
            within(LIMIT, call)
        assert time.perf_counter() - begun < 2
        assert signal.getsignal(signal.SIGALRM) == before
        assert signal.getitimer(signal.ITIMER_REAL)[0] == pytest.approx(other, abs=2)
    finally:
        signal.setitimer(signal.ITIMER_REAL, *kept)


def test_what_a_call_returns_or_raises_passes() -> None:
    assert within(5, lambda: 7) == in_thread(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        in_thread(lambda: 1 // 0)


def test_a_call_in_another_thread_ends_too() -> None:
    release = threading.Event()
    with pytest.raises(TookTooLongError):
        in_thread(lambda: within(LIMIT, release.wait))
    release.set()
