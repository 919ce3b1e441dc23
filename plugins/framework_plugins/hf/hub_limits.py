"""Limits and signs of life while the Hub is asked: the libraries wait for each byte, but not for how many there are."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import get_session

from framework.api.errors import FrameworkError

WINDOW = 30.0
"""Seconds over which the speed of an answer is measured."""
SLOWEST = 1024
"""Bytes a second; below that a model takes years."""
SIGN = 15.0
"""Seconds between two lines that say that the Hub is still waited for."""


class TooSlowError(FrameworkError):
    """The Hub sends less than could ever make a file."""


@contextmanager
def bounded(setting: str) -> Iterator[None]:
    """Inside, an answer that drips raises an error, and waiting is reported.

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
            print(f"{setting}: waiting for the Hub for {time.monotonic() - began:.0f} s …", file=sys.stderr)  # noqa: T201

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    except TooSlowError as error:
        raise FrameworkError(f"{setting}: {error}: check the network and HF_ENDPOINT, or try again later") from error
    finally:
        done.set()


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
