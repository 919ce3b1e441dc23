"""What a process holds while it works. `cli.main` opens the session and passes it on.

Objects that Hydra or a plugin makes cannot be handed the session; they get it from `current()`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self

from omegaconf import DictConfig
from pluggy import HookImpl

from framework.hooks.manager import Plugins
from framework.hooks.progress import Reporter
from framework.util.shared_cache import SharedCache
from framework.util.template import Template

_current: ContextVar[Session] = ContextVar("session")


class Session:
    """The plugins of a process, the user's config folders, and the sweep that the process runs.

    Attributes:
        plugins: what is registered.
        config_dirs: folders of `--config-dir`.
        shared: what trials of a sweep share.
        progress: where the counts of long work go.
        unused: options, `evaluator.prompts`, whose settings in experiments are left out; see `config/unused.py`.
        sweep_dir: the folder of the sweep that this process started; None in a run, and in the worker of a launcher.
        on_exit: what is released and written at the end, the last first.
        schemas: those of the components, of which Hydra composes copies, and the hook implementations that gave them.
    """

    def __init__(self) -> None:
        self.plugins = Plugins()
        self.config_dirs: list[Path] = []
        self.shared = SharedCache()
        self.progress = Reporter()
        self.unused: frozenset[str] = frozenset()
        self.sweep_dir: Path | None = None
        self.on_exit = ExitStack()
        self.schemas: tuple[tuple[HookImpl, ...], Mapping[str, Template[DictConfig]]] = (), {}

    def __enter__(self) -> Self:
        # The token restores the session around this one, which tests have.
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.shared.close()
            self.on_exit.close()
        finally:
            _current.reset(self._token)


def current() -> Session:
    """Return the session of this process; one is made if a script or the worker of a launcher has none yet.

    Raises:
        RuntimeError: a thread without a context asks, which would get plugins of its own.
    """
    session = _current.get(None)
    if session is None:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("no session in this thread: start it with contextvars.copy_context().run")
        session = Session()
        _current.set(session)
    return session
