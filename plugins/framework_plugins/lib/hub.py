"""The Hugging Face Hub: its refusals as messages, with limits and signs of life while it is asked.

The libraries wait for each byte, but not for how many there are.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any, ClassVar

from huggingface_hub import constants, get_session, snapshot_download
from huggingface_hub.constants import ENDPOINT
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import disable_progress_bars
from tqdm.auto import tqdm

from framework import FrameworkError
from framework.api import Progress, summarize_error
from framework_plugins.lib.network import reachable

HTTP_ERROR: type[Exception] = HfHubHTTPError.__bases__[0]
"""All errors of the HTTP client, httpx or from huggingface_hub 2 on httpx2, and those of the Hub."""
UNWRITABLE_ERRORS = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST}
SPEED_WINDOW = 30.0
"""Seconds over which the speed of an answer is measured."""
MIN_BYTES_PER_SECOND = 1024
"""Bytes a second; below that a model takes years."""
SECONDS_BETWEEN_REPORTS = 15.0
"""Seconds between two lines about a download, or about an answer that does not come."""


class UnreachableError(FrameworkError):
    """Something is not on this machine, and the Hub does not answer."""


def ask_hub(
    download: Any,
    repo: str,
    revision: str | None,
    *,
    setting: str,
    kind: str = "model",
    instead: str = "model=local model.path=FOLDER",
    **arguments: Any,
) -> str:
    """Call the Hub and put its refusals into words.

    Args:
        download: a function of huggingface_hub that downloads.
        repo: the id.
        revision: of it.
        setting: names it, and begins each message.
        kind: of what is there.
        instead: the setting that names a folder.
        **arguments: for `download`.
    """

    class Bar(UndrawnBar):
        """A bar of this download."""

    if not sys.stderr.isatty():
        disable_progress_bars()
    if download is snapshot_download:
        arguments["tqdm_class"] = None if sys.stderr.isatty() else Bar
    try:
        offline = not reachable(ENDPOINT)
        with with_limits(setting, Bar):
            return str(download(repo, revision=revision, local_files_only=offline, **arguments))
    except GatedRepoError as error:
        raise FrameworkError(
            f"{setting}: the {kind} is gated. Accept its terms at huggingface.co/{repo}, then log in: "
            "hf auth login, or set HF_TOKEN"
        ) from error
    except RevisionNotFoundError as error:
        raise FrameworkError(f"{setting}: the Hub has no revision {revision} of it") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise FrameworkError(
            f"{setting}: no such folder here and no such {kind} on the Hub (a private one needs HF_TOKEN). "
            "An id is written owner/name"
        ) from error
    except LocalEntryNotFoundError as error:
        answer = error.__cause__ if isinstance(error.__cause__, HfHubHTTPError) else None
        state = f"answers with an error ({summarize_error(answer)})" if answer else "cannot be reached"
        raise UnreachableError(
            f"{setting}: not on this machine, and the Hub {state}. Check the network and HF_ENDPOINT, or "
            f"give a folder: {instead}"
        ) from error
    except EntryNotFoundError as error:
        raise FrameworkError(
            f"{setting}: the repository has no {arguments.get('filename', 'config.json')}, so it holds no {kind}"
        ) from error
    except (HTTP_ERROR, OSError) as error:
        if (error_number := getattr(error, "errno", None)) in UNWRITABLE_ERRORS:
            raise FrameworkError(
                f"{setting}: the Hub's cache, {constants.HF_HUB_CACHE}, cannot be written: "
                f"{os.strerror(error_number)}. "
                f"Set HF_HUB_CACHE=FOLDER, or give a folder: {instead}"
            ) from error
        raise FrameworkError(f"{setting}: the Hub cannot be reached ({summarize_error(error)})") from error


class TooSlowError(FrameworkError):
    """The Hub sends less than could ever make a file."""


class UndrawnBar(tqdm):
    """A bar without a terminal: `with_limits` prints its numbers, and nothing is drawn. Each download has a class."""

    monitor_interval = 0  # no thread that would draw it
    bars: ClassVar[list[UndrawnBar]]  # threads of the download add to it while it is read

    def __init_subclass__(cls) -> None:
        cls.bars = []

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings.pop("name", None)  # of the Hub's own class
        super().__init__(*args, **{**settings, "disable": False, "leave": False, "file": StringIO()})
        self.bars.append(self)

    def display(self, *_args: Any, **_settings: Any) -> bool:
        """Draw nothing."""
        return True

    @classmethod
    def line(cls, seconds: float) -> str:
        """Write how much of a download has arrived after this many seconds; empty if there is none."""
        bars = [bar for bar in cls.bars if bar.unit == "B" and bar.total]
        if not bars:
            return ""
        bar = max(bars, key=lambda candidate: candidate.n)
        # The first files are so small that their speed is none.
        remaining = f"  {Progress.clock(seconds * (bar.total - bar.n) / bar.n)} left" if bar.n > bar.total / 100 else ""
        return f"downloading, {cls.format_sizeof(bar.n, 'B')} of {cls.format_sizeof(bar.total, 'B')}{remaining}"


@contextmanager
def with_limits(setting: str, bars: type[UndrawnBar]) -> Iterator[None]:
    """Inside, an answer that drips raises an error, and a download and waiting are reported.

    Raises:
        FrameworkError: the Hub is too slow.
    """
    session = get_session()
    hooks = session.event_hooks
    if _limit_speed not in hooks.get("response", []):  # a new session, after a fork or an error, has none
        session.event_hooks = {**hooks, "response": [*hooks.get("response", []), _limit_speed]}
    stop, began = threading.Event(), time.monotonic()

    def report() -> None:
        while not stop.wait(SECONDS_BETWEEN_REPORTS):
            seconds = time.monotonic() - began
            line = bars.line(seconds) or f"waiting for the Hub for {seconds:.0f} s …"
            print(f"{setting}: {line}", file=sys.stderr, flush=True)  # noqa: T201

    threading.Thread(target=report, daemon=True).start()
    try:
        yield
    except TooSlowError as error:
        raise FrameworkError(f"{setting}: {error}: check the network and HF_ENDPOINT, or try again later") from error
    finally:
        stop.set()


def _limit_speed(response: Any) -> None:
    """Let a response raise while its body is read, if that comes too slowly."""
    read = response.iter_raw

    def measured(chunk_size: int | None = None) -> Iterator[bytes]:
        began, size = time.monotonic(), 0
        for chunk in read(chunk_size):
            size += len(chunk)
            seconds = time.monotonic() - began
            if seconds > SPEED_WINDOW:
                if size < MIN_BYTES_PER_SECOND * seconds:
                    raise TooSlowError(f"the Hub sends {size} bytes in {seconds:.0f} s")
                began, size = time.monotonic(), 0
            yield chunk

    response.iter_raw = measured
