"""`python -m framework serve RUN_DIR`: base and trained model behind an endpoint that checks itself."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from framework import FrameworkError
from framework.api import ExportResult, Model, PythonProcess, SavedRun, display_run, missing
from framework.api.program import CommandParser, read_run, restored
from framework_plugins.exports.config import ServeCommandConfig
from framework_plugins.exports.endpoint.answerer import BASE, TUNED, Answerer
from framework_plugins.exports.endpoint.app import Access, make_app
from framework_plugins.exports.endpoint.evidence import questions
from framework_plugins.exports.endpoint.parity_command import NOT_PARITY, QUESTIONS, compare, endpoint_of, has_base
from framework_plugins.exports.endpoint.verdict import Served
from framework_plugins.exports.llama.process import QUIET
from framework_plugins.exports.llama.server import PACKAGE
from framework_plugins.exports.parity.conversations import RenderedConversation
from framework_plugins.lib.host import threads as cpu_threads

LOOPBACK = ["localhost", "127.0.0.1"]
CONTEXT = 4096
"""Tokens of a conversation in llama.cpp."""
PORT, MAX_PORT = 8080, 65535


class ServeCommand:
    """Serves the model of a run."""

    def __init__(self, config: ServeCommandConfig) -> None:
        self.config = config

    def main(self, arguments: Sequence[str]) -> int:
        """Serve until Ctrl-C; return 3 if the endpoint does not serve what was trained."""
        parser = _parser()
        given = parser.read(arguments)
        if not 0 <= given.port <= MAX_PORT:
            parser.error(f"--port {given.port} must be a number from 0 to {MAX_PORT}")
        key = os.environ.get(given.key_env, "").strip() if given.key_env else ""
        if given.key_env and not key:
            raise FrameworkError(f"--key-env {given.key_env}: the environment has no such variable, or it is empty")
        if given.host not in LOOPBACK and not key:
            raise FrameworkError(f"--host {given.host} can be reached from elsewhere: set a key, --key-env NAME")
        run = read_run(given.run_dir)
        file = _gguf(run, given.gguf)
        access = Access(key, ["*"] if key else LOOPBACK, secrets.token_hex())
        with ExitStack() as stack:
            listener = stack.enter_context(_listen(given.host, given.port))
            print(f"{display_run(run.folder)}: loading the model …", file=sys.stderr)  # noqa: T201
            plan, model = stack.enter_context(restored(run, given.overrides))
            servers = {TUNED: stack.enter_context(_llama(file))} if file else {}
            names = (BASE, TUNED) if has_base(model) else (TUNED,)
            answerer = stack.enter_context(Answerer(model, names))
            asked = questions(plan, model)
            port = listener.getsockname()[1]
            stack.enter_context(_running(make_app(answerer, servers, access), listener))
            if problem := _check(f"http://127.0.0.1:{port}/v1", run, model, asked, names, access.checking):
                print(problem, file=sys.stderr)  # noqa: T201
                return NOT_PARITY
            access.checking = ""
            by = f"{TUNED} by llama.cpp from {file.name}" if file else f"{TUNED} as it was trained"
            print(f"ready: http://{given.host}:{port}/v1, models {', '.join(names)}; {by}", flush=True)  # noqa: T201
            threading.Event().wait()
        return 0


def _parser() -> CommandParser:
    parser = CommandParser("serve", ServeCommandConfig.__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the folder of the run")
    parser.add_overrides("settings to change from those of the run, such as trainer.device=cpu")
    parser.add_argument("--host", default=LOOPBACK[1], help="the address to listen at; default: %(default)s")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help="0: any that is free; default: %(default)s")
    parser.add_argument("--key-env", metavar="NAME", help="the environment variable with the key that clients need")
    parser.add_argument(
        "--gguf", metavar="FILE", help="the file for llama.cpp; default: the run's first; none: as it was trained"
    )
    return parser


def _gguf(run: SavedRun, word: str | None) -> Path | None:
    """Return the file that llama.cpp serves; None if there is none, or its server is not installed."""
    if word == "none":
        return None
    if word is not None:
        file = Path(word).expanduser().absolute()
        if not file.is_file():
            raise FrameworkError(f"--gguf {file}: the file does not exist")
        if missing([PACKAGE]):
            raise FrameworkError(f"--gguf needs {PACKAGE}, part of the extra gguf")
        return file
    exported = run.record(ExportResult, "export.json") or ExportResult([])
    files = [run.folder / artifact.path for artifact in exported.artifacts if artifact.kind == "gguf"]
    return next((file.absolute() for file in files if file.is_file() and not missing([PACKAGE])), None)


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """Listen at a port.

    Raises:
        FrameworkError: it is taken, or the address is not of this machine.
    """
    try:
        listener = socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise FrameworkError(
            f"--host {host} --port {port}: {error.strerror}; --port 0 takes any that is free"
        ) from error
    with listener:
        yield listener


@contextmanager
def _llama(file: Path) -> Iterator[str]:
    """Run llama.cpp's server in a process of its own; give its address."""
    with PythonProcess(env=QUIET, override=True) as process:
        start = "framework_plugins.exports.llama.server:start_to_answer"
        sizes = {"threads": cpu_threads(), "context": CONTEXT, "parallel": 4}
        yield process.call(start, file=str(file), **sizes)


@contextmanager
def _running(app: Starlette, listener: socket.socket) -> Iterator[None]:
    """Serve in another thread, and end it with the open answers."""
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="endpoint", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


def _check(
    url: str, run: SavedRun, model: Model, asked: Sequence[RenderedConversation], names: Sequence[str], key: str
) -> str:  # fmt: skip
    """Return what a model of the endpoint serves that it should not; empty if each serves what its name says."""
    expected: Mapping[str, Served] = {TUNED: Served.trained, BASE: Served.base}
    for name in names:
        with endpoint_of(url, name, key) as endpoint:
            result = compare(endpoint, run, model, asked[:QUESTIONS])
        # A training that changed little leaves its model too near to the base to tell.
        if result.faults or result.served not in (expected[name], Served.unknown):
            return "the endpoint is not ready: " + "\n".join(result.lines())
        print(next(result.lines()), file=sys.stderr)  # noqa: T201
    return ""
