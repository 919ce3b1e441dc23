"""Runs code that may crash, hang or print in a separate process: one call after the other, each under a time limit.

A process that dies or takes too long is killed, with all that it started; the next call gets a new one. So a library
that crashes Python costs one result.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import IO, Any, Self

import psutil

from framework.api.checkup import Found, State
from framework.api.text import one_line, signal_name

COMMAND = [sys.executable, "-P", "-m", "framework_plugins.doctor.child"]
AT_EASE = {"GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Threads of OpenMP wait asleep: those of several processes side by side would spin against each other for minutes."""
PATIENCE = 10.0
"""Seconds for a process to exit after it was asked to, or after it closed its output."""


class Worker:
    """A Python process that is started when there is something to do. `files` are plugins that it has to load."""

    def __init__(self, files: Sequence[str] = ()) -> None:
        self.files = list(files)
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.said: IO[bytes] | None = None
        self.reader: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """End the process."""
        self.stop()

    def ask(self, function: str, *arguments: Any, seconds: float) -> Found | None:
        """Have `"package.module:function"` called there and return what it found."""
        try:
            packed = pickle.dumps(arguments)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            detail = f"what it is asked cannot be handed to another process: {one_line(error)}"
            return Found(State.unknown, detail)
        try:
            self._write((function, packed))
            line = self.answers.get(timeout=seconds)
        except queue.Empty:
            self.stop()
            return Found(State.broken, f"no answer within {seconds:g} s")
        except BrokenPipeError:
            line = b""
        if line:
            plain = json.loads(line)
            return None if plain is None else Found(State(plain[0]), *plain[1:])
        return Found(State.broken, self._last_words())

    def _write(self, job: tuple[str, bytes]) -> None:
        process = self.process or self._start()
        assert process.stdin is not None  # noqa: S101 - a pipe was asked for
        process.stdin.write(pickle.dumps(job))
        process.stdin.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        self.answers = queue.Queue()
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        process = self.process = subprocess.Popen(  # noqa: S603 - our own words
            COMMAND, env=AT_EASE | os.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said
        )
        self.reader = threading.Thread(target=_read, args=(process, self.answers), daemon=True)
        self.reader.start()
        assert process.stdin is not None  # noqa: S101 - as above
        process.stdin.write(pickle.dumps((sys.path, self.files)))
        return process

    def _last_words(self) -> str:
        """Say how the process ended, and the last line that it printed."""
        process, said = self.process, self.said
        if process is None or said is None:
            return "its process cannot be started"
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        said.seek(0)
        lines = said.read().decode("utf-8", errors="replace").strip().splitlines()
        code = process.returncode
        self.stop()
        last = f": {lines[-1]}" if lines else ""
        return f"it ended Python {_how(code)}{last}"

    def stop(self) -> None:
        """End the process and those that it started."""
        process, self.process = self.process, None
        if process is not None and process.stdin is not None:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            process.kill()
            process.wait()
            with suppress(BrokenPipeError):  # closing writes what it did not take
                process.stdin.close()
        if self.reader is not None:
            self.reader.join(PATIENCE)
            self.reader = None
        if self.said is not None:
            self.said.close()
            self.said = None


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"with exit code {code}"
    return f"by {signal_name(-code)}"


def _read(process: subprocess.Popen[bytes], answers: queue.Queue[bytes]) -> None:
    """Put each answer into the queue, and nothing at the end."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    with process.stdout as lines:
        for line in lines:
            answers.put(line)
    answers.put(b"")
