"""A Python that has imported what many processes of the tests import, and forks for each of them.

To start the program takes longer than most of what tests look at. A copy has its own folder, variables, files for what
it reads and prints, and exit code. It ends as any Python does, but does not take its modules apart, which would cost
more than most calls: what an object prints as it is deleted at the very end is not seen. What only a true start shows
(which modules it imports, what `PYTHONPATH` does) needs a process of its own.

    python forks.py MODULES…    answers a line of JSON (see `Call`) with two: the process, its exit code
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import threading
import types
import warnings
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn

STARTS = (
    "framework.cli.main", "framework.run.pipeline", "framework.api.text", "framework.testing", "hydra.core.plugins",
    "multiprocess", "numpy", "pandas", "pyarrow.compute", "requests",
)  # fmt: skip
"""What a run of the echo backend imports, but for what reads variables while it is imported."""


class Call(NamedTuple):
    """What a copy does: `python COMMAND…` in a folder, with these variables and files for what it reads and prints."""

    command: list[str]
    cwd: str
    env: Mapping[str, str]
    stdin: str
    out: str
    err: str


class Forks:
    """The Python that forks.

    Args:
        environment: its variables while it imports.
        modules: what it imports.
        python: the interpreter, if it is not this one.
    """

    def __init__(self, environment: Mapping[str, str], *modules: str, python: str = sys.executable) -> None:
        pipe, command = subprocess.PIPE, [python, __file__, *modules]
        # Without a buffer: it would read ahead, and select sees nothing of an end that is in it already.
        self.process = subprocess.Popen(command, env=dict(environment), stdin=pipe, stdout=pipe, bufsize=0)
        atexit.register(self.close)

    def run(self, call: Call, timeout: float) -> int:
        """Run `python -m MODULE WORDS…` or `python -c CODE WORDS…`, given without `python`; return its exit code.

        Raises:
            TimeoutError: it took longer than `timeout` seconds, and was killed.
        """
        copy = self.start(call)
        try:
            return self.wait(timeout)
        except TimeoutError:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(copy, signal.SIGKILL)
            self.wait(timeout)
            raise TimeoutError(f"{call.command} took longer than {timeout} s") from None

    def start(self, call: Call) -> int:
        """Begin to run it, and return its process; `wait` has to follow before another call."""
        asked, told = self.process.stdin, self.process.stdout
        assert asked is not None
        assert told is not None
        asked.write(json.dumps(call).encode() + b"\n")
        asked.flush()
        return int(told.readline())

    def wait(self, timeout: float) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            TimeoutError: it has not ended after `timeout` seconds.
        """
        told = self.process.stdout
        assert told is not None
        in_time, _, _ = select.select([told], [], [], timeout)
        if not in_time:
            raise TimeoutError
        return int(told.readline())

    def close(self) -> None:
        """End it."""
        self.process.communicate()


def serve(asked: IO[str]) -> list[str]:
    """Fork for each call; return what to run, in the copy."""
    for line in asked:
        call = Call(*json.loads(line))
        writes = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both may be one file
        ways = ((call.stdin, os.O_RDONLY), (call.out, writes), (call.err, writes))
        # Before the caller learns of the process: a terminal that nobody holds would be at its end.
        files = [os.open(path, way | os.O_NOCTTY) for path, way in ways]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # libraries have threads by now, which wait for work
            copy = os.fork()
        if copy:
            for file in files:
                os.close(file)
            os.write(1, b"%d\n" % copy)
            os.write(1, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1]))
            continue
        if os.isatty(files[0]):  # Ctrl-C reaches who owns the terminal
            os.setsid()
            fcntl.ioctl(files[0], termios.TIOCSCTTY, 0)
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.chdir(call.cwd)
        os.environ.clear()
        os.environ.update(call.env)
        return call.command
    sys.exit()


def prepare(*modules: str) -> None:
    """Import what the copies would; a start of the program has looked for its plugins and for those of Hydra."""
    for name in modules:
        importlib.import_module(name)
    if "framework.cli.main" in modules:
        from hydra.core.plugins import Plugins

        Plugins.instance()
        skip_the_mode()
        for entry in entry_points(group="framework"):
            entry.load()
    # Not isinstance: it looks at each object's __class__, and one of torch's warns then.
    for folder in [each for each in gc.get_objects() if issubclass(type(each), tempfile.TemporaryDirectory)]:
        # W&B makes some while it is imported: the first copy that ends would remove them for all that follow.
        folder._finalizer.atexit = False  # noqa: SLF001
        atexit.unregister(folder.cleanup)  # which W&B asks for, too
        atexit.register(remove, folder.name, os.getpid())
    gc.freeze()


def skip_the_mode() -> None:
    """Let Hydra ask no config for its `hydra.mode` if no file of a user can set it.

    It composes everything for that, a third of a start that trains nothing, and our own files leave it open.
    `test_forks.py` compares with starts that ask.
    """
    from hydra._internal.hydra import Hydra

    from framework.config.compose import user_folders
    from framework.hooks.session import current

    ask = Hydra.get_mode

    @functools.wraps(ask)
    def get_mode(self: Hydra, config_name: str | None, overrides: list[str]) -> Any:
        may_be_set = user_folders(current()) or any("hydra.mode" in word for word in overrides)
        return ask(self, config_name, overrides) if may_be_set else None

    Hydra.get_mode = get_mode


def remove(folder: str, process: int) -> None:
    """Remove a folder at the end of the process that made it, not of a copy."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def start(option: str, what: str, *words: str) -> None:
    """Do what Python does with these words."""
    sys.argv = [option, *words]
    added = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:1] = [str(Path.cwd()) if option == "-m" else "", *added]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, main.__dict__)  # noqa: S102 - as -c does


def end(option: str, what: str, *words: str) -> NoReturn:
    """Do what Python does with these words, and leave with its exit code."""
    code = 0
    try:
        start(option, what, *words)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if code and not isinstance(ended.code, int):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException as error:  # noqa: BLE001 - as Python does with any
        sys.excepthook(type(error), error, error.__traceback__)
        code = -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 - waits for threads as the end of Python does
    atexit._run_exitfuncs()  # noqa: SLF001
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 120
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    prepare(*sys.argv[1:])
    end(*serve(sys.stdin))
