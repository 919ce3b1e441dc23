"""What a process holds while it works. `cli.main` opens the session and passes it on.

Objects that Hydra or a plugin makes cannot be handed the session; they get it from `current()`, in any thread. Calls
from Python may open it several times, one within the other or side by side: the last that leaves it closes it.
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

_current: ContextVar[Session | None] = ContextVar("session", default=None)
_lock = threading.RLock()


class OpenSessions:
    """The sessions of this process that are open: a thread without a context works in the last one."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []

    def opened(self, session: Session) -> None:
        """Note a session that is opened."""
        self._sessions.append(session)

    def closed(self, session: Session) -> None:
        """Forget a session that is closed."""
        self._sessions.remove(session)

    def last(self) -> Session | None:
        """Return the session that was opened last."""
        return self._sessions[-1] if self._sessions else None


_open = OpenSessions()


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
        self._entered = 0
        self._around: Session | None = None

    def __enter__(self) -> Self:
        with _lock:
            if not self._entered:
                self._around = _current.get()  # tests have one
                _open.opened(self)
            self._entered += 1
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            self._entered -= 1
            if self._entered:
                return
            _open.closed(self)
        try:
            self.shared.close()
            self.on_exit.close()
        finally:
            _current.set(self._around)


def current() -> Session:
    """Return the session of this process; one is made if a script or the worker of a launcher has none yet."""
    session = _current.get()
    if session is None:
        with _lock:
            session = _open.last() or Session()
        _current.set(session)
    return session
