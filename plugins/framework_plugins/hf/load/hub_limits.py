"""Limits and signs of life while the Hub is asked: the libraries wait for each byte, but not for how many there are."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, ClassVar

from huggingface_hub import get_session
from tqdm.auto import tqdm

from framework.api.errors import FrameworkError
from framework.api.text import clock

WINDOW = 30.0
"""Seconds over which the speed of an answer is measured."""
SLOWEST = 1024
"""Bytes a second; below that a model takes years."""
SIGN = 15.0
"""Seconds between two lines about a download, or about an answer that does not come."""


class TooSlowError(FrameworkError):
    """The Hub sends less than could ever make a file."""


class Received(tqdm):
    """A bar of a download that is not drawn: `bounded` prints its numbers. For use where there is no terminal."""

    monitor_interval = 0  # no thread that would draw it
    known: ClassVar[list[Received]] = []  # of this download; its threads add to it while it is read

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.pop("name", None)  # of the Hub's own class
        super().__init__(*args, **{**settings, "disable": False, "leave": False, "file": StringIO()})
        self.known.append(self)

    def display(self, *_args: Any, **_settings: Any) -> bool:
        """Draw nothing."""
        return True

    @classmethod
    def line(cls, seconds: float) -> str:
        """Write how much of a download has arrived after this many seconds; empty if there is none."""
        bars = [bar for bar in cls.known if bar.unit == "B" and bar.total]
        if not bars:
            return ""
        bar = max(bars, key=lambda each: each.n)
        # The first files are so small that their speed is none.
        left = f"  {clock(seconds * (bar.total - bar.n) / bar.n)} left" if bar.n > bar.total / 100 else ""
        return f"downloading, {cls.format_sizeof(bar.n, 'B')} of {cls.format_sizeof(bar.total, 'B')}{left}"


@contextmanager
def bounded(setting: str) -> Iterator[None]:
    """Inside, an answer that drips raises an error, and a download and waiting are reported.

    Raises:
        FrameworkError: the Hub is too slow.
    """
    session = get_session()
    hooks = session.event_hooks
    if _measure not in hooks.get("response", []):  # a new session, after a fork or an error, has none
        session.event_hooks = {**hooks, "response": [*hooks.get("response", []), _measure]}
    done, began = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(SIGN):
            seconds = time.monotonic() - began
            line = Received.line(seconds) or f"waiting for the Hub for {seconds:.0f} s …"
            print(f"{setting}: {line}", file=sys.stderr, flush=True)  # noqa: T201

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    except TooSlowError as error:
        raise FrameworkError(f"{setting}: {error}: check the network and HF_ENDPOINT, or try again later") from error
    finally:
        done.set()
        Received.known.clear()


def _measure(response: Any) -> None:
    """Let a response raise while its body is read, where that comes too slowly."""
    read = response.iter_raw

    def measured(chunk_size: int | None = None) -> Iterator[bytes]:
        began, size = time.monotonic(), 0
        for chunk in read(chunk_size):
            size += len(chunk)
            seconds = time.monotonic() - began
            if seconds > WINDOW:
                if size < SLOWEST * seconds:
                    raise TooSlowError(f"the Hub sends {size} bytes in {seconds:.0f} s")
                began, size = time.monotonic(), 0
            yield chunk

    response.iter_raw = measured
