"""framework/util/guard.py: whatever a part raises is an error of the part; what ends the run is raised on."""

from __future__ import annotations

import asyncio
import errno
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from framework.util import guard
from framework.util.errors import FrameworkError, Interrupted
from framework.util.guard import Caught, Guard, short_repr, try_out
from framework.util.time_limit import TookTooLongError, within

TOKEN = "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"  # noqa: S105 - not a token of anybody


class OutOfMemoryError(RuntimeError):
    """As torch raises it for a GPU."""


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


def raises(error: BaseException) -> Callable[[], NoReturn]:
    def call() -> NoReturn:
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (raises(ValueError(f"token {TOKEN}\nand more")), "ValueError: token (hidden)"),
        (raises(ValueError("\x1b[1mbold\x1b[0m")), "ValueError: bold"),
        (sys.exit, "SystemExit: no message"),
        (lambda: sys.exit(0), "SystemExit: 0"),
        (lambda: sys.exit(TOKEN), "SystemExit: (hidden)"),
        (raises(asyncio.CancelledError(TOKEN)), "CancelledError: (hidden)"),
        (raises(GeneratorExit()), "GeneratorExit: no message"),
        (raises(StopIteration()), "StopIteration: no message"),
        (raises(UnprintableError()), "UnprintableError: it has a message that cannot be printed"),
        (raises(BaseExceptionGroup("two", [SystemExit(1)])), "BaseExceptionGroup: two (1 sub-exception)"),
    ],
)
def test_what_a_part_raises_is_one_line_with_its_name_and_place(call: Callable[[], None], told: str) -> None:
    with pytest.raises(FrameworkError) as caught, Guard("loss=mine"):
        call()
    assert str(caught.value).startswith(f"loss=mine: {told} ({__file__}:")
    assert "\n" not in str(caught.value)
    failed = Caught()
    with failed:
        call()
    assert failed.error is not None


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        Interrupted(15),
        FrameworkError("a sentence"),
        OSError(errno.ENOSPC, "full"),
        MemoryError(),
        OutOfMemoryError("CUDA out of memory. Tried to allocate 1.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
    ],
)
def test_what_ends_the_run_or_is_a_sentence_is_raised_on(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, Guard("loss=mine"):
        raise error
    assert caught.value is error


def test_the_alarm_of_a_time_limit_passes_through_all_guards() -> None:
    def waits() -> None:
        with Guard("loss=mine"), Caught():
            time.sleep(5)

    with pytest.raises(TookTooLongError):
        within(0.05, waits)


def test_a_trial_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "TRIAL_SECONDS", 0.05)
    with pytest.raises(FrameworkError, match=r"^schedule=mine: it takes longer than 0\.05 s"):
        try_out("schedule=mine", lambda: time.sleep(5))
    assert try_out("schedule=mine", lambda: 5) == 5


def test_any_value_can_be_shown() -> None:
    values: list[Any] = ["a", 10**5000, UnprintableError()]
    assert [*map(short_repr, values)] == ["'a'", "a value of the type int", "a value of the type UnprintableError"]
