"""A Python that has imported what many processes of the tests import, and forks for each of them.

To start the program takes longer than most of what tests look at. A copy has its own folder, variables, files for what
it reads and prints, and exit code. It ends as any Python does, but does not take its modules apart, which would cost
more than most calls: what an object prints as it is deleted at the very end is not seen. What only a true start shows
(which modules it imports, what `PYTHONPATH` does) needs a process of its own. The workers of one pytest share it.

    python forks.py SOCKET PROCESS MODULES…    each connection is a call; ends with that process
"""

from __future__ import annotations

import atexit
import contextvars
import fcntl
import functools
import gc
import hashlib
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import types
import uuid
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

STARTS = (
    "framework.cli.main", "framework.run.pipeline", "framework.api.text", "framework.testing", "hydra.core.plugins",
    "multiprocess", "numpy", "pandas", "pyarrow.compute", "requests", "framework_plugins.sweeps.sweeping",
    "cattrs.preconf.json", "filelock", "framework.data.stage", "framework.evaluate.verdict.paired",
    "framework.run.choosing", "framework_plugins.audit.standard", "framework_plugins.evals.forgetting",
    "framework_plugins.evals.memorization.evaluator", "framework_plugins.exports.adapter",
    "framework_plugins.formats.files", "framework_plugins.formats.formats", "framework_plugins.launch.single",
    "framework_plugins.monitor.health_monitor", "framework_plugins.report.html", "framework_plugins.report.page",
    "framework_plugins.trackers.console", "framework_plugins.trackers.jsonl", "pyarrow.parquet",
)  # fmt: skip
"""What a run or a sweep of the echo backend imports, but for what reads variables while it is imported."""

USUAL = (["+experiment=quickstart"], ECHO := ["model=echo", "trainer=echo", "data=local_file"], [*ECHO, "logger=[]"])
"""Words with which many of them start; values make no difference."""

LONGEST = 1 << 18
"""Bytes of a call, which is one message: Linux sends none that is longer."""
FILES = 8
"""Descriptors that come with one, at most."""
FEW = 32
"""Bytes of an answer, a number."""


class Call(NamedTuple):
    """What a copy does: `python COMMAND…` in a folder, with these variables and files for what it reads and prints."""

    command: list[str]
    cwd: str
    env: Mapping[str, str]
    stdin: str
    out: str
    err: str


class Copy:
    """A fork, with what is used of a `subprocess.Popen`."""

    def __init__(self, told: socket.socket) -> None:
        self.returncode: int | None = None
        self._told = told
        self.pid = int(told.recv(FEW))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended after `timeout` seconds.
        """
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = int(self._told.recv(FEW))
            except TimeoutError as error:
                raise subprocess.TimeoutExpired("a copy", timeout or 0) from error
            self._told.close()
        return self.returncode

    def poll(self) -> int | None:
        """Return its exit code, if it has ended."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.001)  # 0 is another mode of sockets
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal."""
        if self.returncode is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def sockets() -> Path:
    """Return the folder in which the workers of one pytest find what they share; nobody else knows its name."""
    folder = Path(tempfile.gettempdir(), f"forks-{os.environ.get('PYTEST_XDIST_TESTRUNUID') or uuid.uuid4().hex}")
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


class Forks:
    """The Python that forks.

    Args:
        environment: its variables while it imports.
        modules: what it imports.
        python: the interpreter, if it is not this one.

    Attributes:
        path: the socket where it takes calls.
    """

    def __init__(self, environment: Mapping[str, str], *modules: str, python: str = sys.executable) -> None:
        variables = {name: value for name, value in environment.items() if not name.startswith("PYTEST_")}
        made_of = json.dumps([sorted(variables.items()), modules, python])
        self.path = str(sockets() / hashlib.sha256(made_of.encode()).hexdigest()[:16])
        with Path(f"{self.path}.lock").open("w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if Path(self.path).exists():
                return
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
                listener.bind(self.path)
                listener.listen()
                lives = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
                # -P: the folder of this file has modules with the names of Python's own.
                command = [python, "-P", __file__, str(listener.fileno()), str(lives), *modules]
                process = subprocess.Popen(
                    command, env=variables, pass_fds=[listener.fileno()], stdin=subprocess.DEVNULL
                )
        atexit.register(process.poll)  # held to the end: Python would warn of a process that nobody waits for

    def run(self, call: Call, timeout: float) -> int:
        """Run `python -m MODULE WORDS…` or `python -c CODE WORDS…`, given without `python`; return its exit code.

        Raises:
            TimeoutError: it took longer than `timeout` seconds, and was killed.
        """
        copy = self.start(call)
        try:
            return copy.wait(timeout)
        except subprocess.TimeoutExpired:
            copy.kill()
            copy.wait(timeout)
            raise TimeoutError(f"{call.command} took longer than {timeout} s") from None

    def start(self, call: Call) -> Copy:
        """Begin to run it."""
        writes = os.O_WRONLY | os.O_CREAT | os.O_APPEND  # both may be one file
        with ExitStack() as stack:
            files = []
            for path, way in ((call.stdin, os.O_RDONLY), (call.out, writes), (call.err, writes)):
                files.append(os.open(path, way | os.O_NOCTTY, 0o666))
                stack.callback(os.close, files[-1])
            return self.copy(call.command, call.cwd, call.env, files)

    def copy(self, command: Sequence[str], cwd: str, env: Mapping[str, str], files: Sequence[int]) -> Copy:
        """Begin to run it with open files: input, output and errors; the numbers of more are its last words."""
        told = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told.connect(self.path)
        socket.send_fds(told, [json.dumps([command, cwd, dict(env)]).encode()], files)
        return Copy(told)


def serve(listener: socket.socket, process: int) -> list[str]:
    """Fork for each call; return what to run, in the copy, and nothing once the process has ended."""
    ended, copies = os.pidfd_open(process), dict[int, tuple[int, socket.socket]]()
    while True:
        ready, _, _ = select.select([listener.fileno(), ended, *copies], [], [])
        for descriptor in copies.keys() & ready:
            copy, told = copies.pop(descriptor)
            os.close(descriptor)
            code = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
            with told, suppress(OSError):  # nobody waits for it
                told.send(b"%d" % code)
        if ended in ready:
            for left in (Path(listener.getsockname()), Path(f"{listener.getsockname()}.lock")):
                left.unlink(missing_ok=True)
            with suppress(OSError):  # others use it
                left.parent.rmdir()
            return []
        if listener.fileno() not in ready:
            continue
        told, _ = listener.accept()
        message, files, _, _ = socket.recv_fds(told, LONGEST, FILES)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # libraries have threads by now, which wait for work
            copy = os.fork()
        if copy:
            for file in files:
                os.close(file)
            told.send(b"%d" % copy)
            copies[os.pidfd_open(copy)] = copy, told
            continue
        for each in (listener, told, *(told for _, told in copies.values())):
            each.close()
        if os.isatty(files[0]):  # Ctrl-C reaches who owns the terminal
            os.setsid()
            fcntl.ioctl(files[0], termios.TIOCSCTTY, 0)
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
            os.close(file)
        command, cwd, env = json.loads(message)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        return [*command, *map(str, files[3:])]


def prepare(*modules: str) -> None:
    """Import what the copies would; a start of the program has looked for its plugins and for those of Hydra."""
    gc.disable()  # nothing of it is garbage, and to look for some takes longer the more there is
    skip_the_disk()
    for name in modules:
        importlib.import_module(name)
    if "framework.cli.main" in modules:
        from hydra.core.plugins import Plugins

        Plugins.instance()
        compose_once()
        for entry in entry_points(group="framework"):
            entry.load()
        for words in USUAL:
            contextvars.Context().run(compose, words)
    keep_temporary_folders()
    gc.freeze()
    gc.enable()


def keep_temporary_folders() -> None:
    """Leave the temporary folders of this process to it.

    W&B makes some while it is imported, and the first copy of the process that ends would remove them for all others.
    """
    # Not isinstance: it looks at each object's __class__, and one of torch's warns then.
    for folder in [each for each in gc.get_objects() if issubclass(type(each), tempfile.TemporaryDirectory)]:
        folder._finalizer.atexit = False  # noqa: SLF001
        atexit.unregister(folder.cleanup)  # which W&B asks for, too
        atexit.register(remove, folder.name, os.getpid())


def compose(words: Sequence[str]) -> None:
    """Make the schemas and a config as a start does: what it reads and parses stays."""
    from framework import testing
    from framework.config.compose import compose
    from framework.rundir.environment import own_commit, packages

    testing.install()
    compose(words)
    packages()
    own_commit()


def compose_once() -> None:
    """Let Hydra do once what it does for each composition, and gives the same each time.

    `test_forks.py` compares with starts that do all of it.
    """
    skip_the_mode()
    skip_the_map()
    skip_copies()
    merge_once()


def skip_the_map() -> None:
    """Let Hydra make its map for interpolations in a defaults list only if there are some; it takes a fifth of all."""
    from hydra._internal import defaults_list as lists
    from omegaconf import DictConfig

    make = lists._create_interpolation_map  # noqa: SLF001

    @functools.wraps(make)
    def make_map(overrides: Any, defaults: Sequence[Any], self_added: bool) -> DictConfig:  # noqa: FBT001 - Hydra's
        used = any(each.is_interpolation() for each in defaults)
        return make(overrides, defaults, self_added) if used else DictConfig({})

    lists._create_interpolation_map = make_map  # noqa: SLF001


def merge_once() -> None:
    """Let Hydra merge the same files and schemas once: half of a composition, which sets the values after that.

    Files of a user, and those of other plugins, may be others the next time.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from framework.config.compose import COMPONENT, conf_dir, register
    from framework.config.user_source import OWN, PACKAGE
    from framework.hooks.session import current
    from framework.util.template import Template

    merge = ConfigLoaderImpl._compose_config_from_defaults_list  # noqa: SLF001
    own, merged = str(conf_dir()), dict[Any, Any]()

    def stays(scheme: str, path: str) -> bool:
        ours = scheme == "pkg" and path.startswith("framework_plugins.")
        return ours or scheme in {COMPONENT, PACKAGE, "structured"} or (scheme, path) == (OWN, own)

    @functools.wraps(merge)
    def from_defaults(self: ConfigLoaderImpl, defaults: Sequence[Any], repo: Any) -> Any:
        sources = [(each.scheme(), each.path, getattr(each, "_unused", None)) for each in repo.get_sources()]
        if not all(stays(scheme, path) for scheme, path, _ in sources):
            return merge(self, defaults, repo)
        made_of = (str(defaults), *sources, *register(current()).items())
        if made_of not in merged:
            merged[made_of] = Template(merge(self, defaults, repo))
        return merged[made_of].copy()

    ConfigLoaderImpl._compose_config_from_defaults_list = from_defaults  # noqa: SLF001


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


def skip_copies() -> None:
    """Let Hydra parse its version once, not six hundred times, and copy from its ConfigStore without a copy of that."""
    from hydra import version
    from hydra.core.config_store import ConfigStore

    version._get_version = functools.cache(version._get_version)  # noqa: SLF001
    ConfigStore.__deepcopy__ = lambda self, _: self


def skip_the_disk() -> None:
    """Let `os.fsync` return at once: no test cuts the power, and 40,000 calls wait for the disk for milliseconds."""
    os.fsync = lambda _: None  # type: ignore[assignment]


def remove(folder: str, process: int) -> None:
    """Remove a folder at the end of the process that made it, not of a copy."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)


def start(option: str, what: str, *words: str) -> None:
    """Do what Python does with these words."""
    sys.argv = [option, *words]
    added = [*filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    if not {*added} <= {*sys.path} and (environment := sys.modules.get("framework.rundir.environment")):
        environment._by_module.cache_clear()  # noqa: SLF001 - `compose` has asked what is installed
    sys.path[:0] = [str(Path.cwd()) if option == "-m" else "", *added]
    if option == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(what, main.__dict__)  # noqa: S102 - as -c does


def end(*command: str) -> NoReturn:
    """Do what Python does with these words, if there are some, and leave with its exit code."""
    code = 0
    try:
        if command:
            start(*command)
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
    prepare(*sys.argv[3:])
    end(*serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2])))
