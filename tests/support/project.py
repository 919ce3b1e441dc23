"""The program in a folder of a test: in this process, which takes a tenth of a second, or in one of its own."""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

from hydra.core.hydra_config import HydraConfig

from framework import testing
from framework.cli.main import main
from framework.config.compose import register
from framework.hooks.session import Session
from tests.support import forked_program
from tests.support.forked_program import Result
from tests.support.program import environment


@dataclass(frozen=True)
class Project:
    """A folder, and the variables with which the program is started there.

    `run` is for what the program says and writes. What belongs to a process is tested in one, by `process`: what is
    imported, signals, streams that are closed, what Python itself reads of the environment.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def run(self, *words: str) -> Result:
        """Run the program in this process, as a new process would."""
        return self._run(words, echo=False)

    def echo(self, *words: str) -> Result:
        """Run it with the echo backend."""
        position = next((index for index, word in enumerate(words) if not word.startswith("-")), len(words))
        return self._run([*words[:position], "model=echo", "trainer=echo", *words[position:]], echo=True)

    def process(self, *words: str) -> Result:
        """Run it in a process of its own."""
        return forked_program.program(*words, cwd=self.folder, env=self.env)

    def _run(self, words: Sequence[str], *, echo: bool) -> Result:
        variables = environment(self.folder.parent, **{"COLUMNS": "200", **self.env})
        session = Session()
        if "FRAMEWORK_DISABLE_PLUGINS" not in variables and not any(word.startswith("plugins=") for word in words):
            session.plugins, session.schemas = shared(echo).plugins, shared(echo).schemas
        with ExitStack() as stack:
            out, err = (stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8")) for _ in range(2))
            stack.enter_context(mock.patch.dict(os.environ, variables, clear=True))
            stack.enter_context(mock.patch.object(sys, "argv", ["framework", *words]))
            stack.enter_context(contextlib.chdir(self.folder))
            stack.enter_context(as_before(self.folder))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(err))
            code = contextvars.Context().run(started, session, echo=echo)
            if session.plugins.files:  # of the run that a command read
                shared.cache_clear()
            out.seek(0)
            err.seek(0)
            return Result(code, out.read(), err.read())


def project(folder: Path, files: Mapping[str, str] | None = None, env: Mapping[str, str] | None = None) -> Project:
    """Return a folder with these files."""
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return Project(folder, env or {})


@functools.cache
def shared(echo: bool) -> Session:  # noqa: FBT001 - the key of the cache
    """Return a session with the plugins that all runs without a plugin file have: to load them takes longest."""
    session, context = Session(), contextvars.Context()
    context.run(opened, session, echo=echo)
    context.run(register, session)
    return session


def opened(session: Session, *, echo: bool) -> None:
    """Let `current()` be this session in this context, to its end."""
    session.__enter__()
    if echo:
        testing.install()


def started(session: Session, *, echo: bool) -> int:
    """Do what a start of the program does; return its exit code."""
    opened(session, echo=echo)
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        session.__exit__(None, None, None)  # the last to leave closes it: locks are released, tables are printed
    return 0


@contextmanager
def as_before(folder: Path) -> Iterator[None]:
    """Search a folder first, as `python -m` does; forget Hydra's config, and what was imported there or beside it."""
    config, path, before = HydraConfig.instance().cfg, [*sys.path], {*sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        HydraConfig.instance().cfg = config
        sys.path[:] = path
        for name in {*sys.modules} - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder.parent)):
                del sys.modules[name]
