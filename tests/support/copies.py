"""Copies of a Python that has imported torch, in place of the processes that `PythonProcess` starts.

Each of these would import torch and transformers, which takes longer than most of what it is asked. A copy has its own
variables, output and exit code, and signals stop it like any process. What only a true start shows has tests
without copies: `tests/framework/util/test_process.py` and `tests/plugins/exports/llama/test_process.py`.

    python copies.py SOCKET MODULES…    forks for each message, which has three descriptors; see `Copy`
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from tests.support.program import environment

MODULES = ("framework.util.process", "framework_plugins.hf.backend", "framework_plugins.exports.gguf.convert.lora")
"""Not `conversion` and `gguf`: which ones are imported is what some tests are about."""
LONGEST = 1 << 17
STARTS = threading.Lock()


@functools.cache
def server() -> socket.socket:
    """Start the Python that is copied; return where it takes messages. It ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            # -P: the folder of this file has modules with the names of Python's own.
            [sys.executable, "-P", __file__, str(theirs.fileno()), *MODULES],
            env=environment(Path("/nowhere"), PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    atexit.register(end, process)
    return ours


def end(process: subprocess.Popen[bytes]) -> None:
    """End it."""
    process.kill()
    process.wait()


class Copy:
    """What `PythonProcess` uses of a `subprocess.Popen`."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str], pass_fds: Sequence[int], stdout: IO[bytes], **_: Any
    ) -> None:
        self.returncode: int | None = None
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            code = command[command.index("-c") + 1]
            with STARTS:
                asked = server()
            socket.send_fds(
                asked,
                [pickle.dumps((code, dict(env), str(Path.cwd())))],
                [theirs.fileno(), *pass_fds, stdout.fileno()],
            )
        self.pid = int(self._told.recv(LONGEST))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(LONGEST))
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("a copy", timeout or 0) from error
            self._told.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once."""
        if self.returncode is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


@contextmanager
def in_place_of_processes() -> Iterator[None]:
    """Let each `PythonProcess` be a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("framework.util.process.subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": Copy}))
        yield


def serve(asked: socket.socket) -> None:
    """Fork for each message; in a fork, run the copy and tell its process and its exit code."""
    while True:
        message, files, _, _ = socket.recv_fds(asked, LONGEST, 3)
        if not message:  # who asked has ended
            return
        if os.fork():
            for file in files:
                os.close(file)
            with suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            continue
        asked.close()
        told, connection, printed = files
        copy = os.fork()
        if not copy:
            os.close(told)
            code, env, cwd = pickle.loads(message)  # noqa: S301 - our own parent wrote it
            os._exit(run(code, env, cwd, connection, printed))
        os.close(connection)
        with socket.socket(fileno=told) as answer:
            answer.send(b"%d" % copy)
            ended = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
            with suppress(OSError):  # nobody waits for it
                answer.send(b"%d" % ended)
        os._exit(0)


def run(code: str, env: Mapping[str, str], cwd: str, connection: int, printed: int) -> int:
    """Do what `python -u -c CODE` does; return its exit code."""
    for number in (1, 2):
        os.dup2(printed, number)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["-c", str(connection)]
    try:
        exec(code, {"__name__": "__main__"})  # noqa: S102 - as -c does
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:  # noqa: BLE001 - as Python does with any
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    for name in sys.argv[2:]:
        importlib.import_module(name)
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
