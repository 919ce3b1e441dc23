"""A Python process in which functions are called by name: what crashes, hangs or prints there costs one answer.

    with PythonProcess() as process:
        found = process.call("acme.slow:look", folder, seconds=60)

`main` is the other end.
"""

from __future__ import annotations

import importlib
import operator
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, Self

import psutil

from framework.util.errors import FrameworkError, describe_error, error_traceback, signal_name

RETURNED, REFUSED, RAISED = "returned", "refused", "raised"
CODE = "import sys; sys.path[:] = {!r}; from framework.util.process import main; main()"
GRACE = 10.0
"""Seconds for a process to end that has closed its end of the connection."""


class ProcessError(FrameworkError):
    """A call failed: the function raised, its process ended, or it took too long.

    `last` is the last line that the process printed; empty if it printed none. `timed_out` says that it took too long.
    """

    def __init__(self, reason: str, last: str = "", *, timed_out: bool = False) -> None:
        super().__init__(f"{reason}: {last}" if last else reason)
        self.last = last
        self.timed_out = timed_out


class PythonProcess:  # a library that is tried may crash or hang during its import
    """A process that starts with the first call, and again after a crash or a hang. It has this process's `sys.path`.

    Args:
        log: the file for what is printed there; without it that is dropped, but for the last line in an error.
        env: variables for it.
        override: whether `env` wins over variables that are set already.
        discard: whether the temporary files that it makes are removed when it stops: it is killed, and libraries
            remove theirs at a regular end only.
    """

    def __init__(
        self,
        *,
        log: Path | None = None,
        env: Mapping[str, str] | None = None,
        override: bool = False,
        discard: bool = False,
    ) -> None:
        self._log = log
        self._discard = discard
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._env = env or {}
        self._override = override
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._printed: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def call(self, function: str, *arguments: Any, seconds: float | None = None, **named: Any) -> Any:
        """Call `"package.module:function"` there and return what it returns; all of it has to be picklable.

        Raises:
            ProcessError: it raised, its process ended, or it takes longer than `seconds`, which ends the process.
            FrameworkError: what it raised was one.
        """
        job = pickle.dumps((function, arguments, named))
        try:
            connection = self._connection or self._start()
            connection.send_bytes(job)
            if not connection.poll(seconds):
                self.stop()
                raise ProcessError(f"no answer within {seconds:g} s", timed_out=True)
            outcome, value = connection.recv()
        except (EOFError, ConnectionError) as error:
            raise self._ended() from error
        if outcome == RETURNED:
            return value
        raise (FrameworkError if outcome == REFUSED else ProcessError)(value)

    def _start(self) -> Connection[Any, Any]:
        if self._log and self._log.is_symlink():  # in a run folder from elsewhere: it would be written where it points
            self._log.unlink()
        self._printed = self._log.open("wb+") if self._log else tempfile.TemporaryFile()  # noqa: SIM115 - `stop` closes it
        variables = {**os.environ, **self._env} if self._override else {**self._env, **os.environ}
        if self._discard:
            self._temporary = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
            variables["TMPDIR"] = self._temporary.name
        ours, theirs = Pipe()
        # Our copy of their end is closed here: while one is open, the end of the process is not seen as EOF.
        with theirs:
            # -u: what goes to the one output stays in order with what goes to the other.
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                # -P: a file in the working folder may have the name of a library.
                [sys.executable, "-u", "-P", "-c", CODE.format(sys.path), str(theirs.fileno())],
                env=variables,
                pass_fds=[theirs.fileno()],
                # A library that asks a question would wait for an answer for ever.
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=subprocess.STDOUT,
            )
        self._connection = ours
        return ours

    def _ended(self) -> ProcessError:
        """Say how the process ended, and the last line that it printed."""
        assert self._process is not None  # noqa: S101 - `_start` made both
        assert self._printed is not None  # noqa: S101 - as above
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        code = self._process.returncode
        self._printed.seek(0)
        lines = self._printed.read().decode("utf-8", errors="replace").strip().splitlines()
        self.stop()
        how = f"was killed by {signal_name(-code)}" if code is not None and code < 0 else f"exited with code {code}"
        return ProcessError(f"its Python process {how}", lines[-1].strip() if lines else "")

    def stop(self) -> None:
        """End the process and those that it started."""
        if self._process:
            with suppress(psutil.NoSuchProcess):
                # Before the process itself: children of one that has ended are found by nobody.
                for child in psutil.Process(self._process.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        child.kill()
            self._process.kill()
            self._process.wait()
        for opened in (self._connection, self._printed):
            if opened:
                opened.close()
        if self._temporary:
            self._temporary.cleanup()
        self._process = self._connection = self._printed = self._temporary = None


def main() -> None:
    """Answer until the other end closes the connection."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    # A closed connection is noticed between two calls only.
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with suppress(EOFError):
        while True:
            connection.send(_answer(connection.recv_bytes()))


def _answer(job: bytes) -> tuple[str, Any]:
    """Make one call; return how it went, and what the function returned or the text of its error."""
    try:
        function, arguments, named = pickle.loads(job)  # noqa: S301 - our own parent wrote it
        module, _, name = function.partition(":")
        return RETURNED, operator.attrgetter(name)(importlib.import_module(module))(*arguments, **named)
    except FrameworkError as error:
        return REFUSED, str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer; the log has all of it
        print(error_traceback(error), end="", file=sys.stderr)
        return RAISED, describe_error(error)


def _end_with_parent(parent: int) -> None:
    """End if the parent was killed, whatever is being done."""
    # An orphan gets another parent.
    while os.getppid() == parent:
        time.sleep(1)
    # `sys.exit` would end this thread only.
    os._exit(1)
