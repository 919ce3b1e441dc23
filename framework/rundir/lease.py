"""Which process works on a run folder of an object store: a lock that does not outlive its process.

It is an object with a number, `.store.7.lock`, written only if there is none of its name: if two processes start at the
same moment, the store refuses one. The holder rewrites it every few seconds. If it does not, another process takes the
next number and removes the older ones; a holder that was only suspended notices that and sends nothing more. A holder
that ends leaves its lock behind as released, so a number is never taken twice.

The clocks of two machines may differ by ten minutes: a holder that lives rewrites its lock while it is watched.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from framework.rundir.objects import Moved, Store
from framework.util import lock
from framework.util.errors import FrameworkError
from framework.util.files import write_atomically

NAME = re.compile(r"\.store\.(\d{1,15})\.lock")
BEAT_SECONDS, DEAD_AFTER_SECONDS, POLL_SECONDS = 15.0, 60.0, 1.0
"""Seconds between two signs of life, after which a holder without one is dead, and between two looks for one."""


class TakenError(FrameworkError):
    """Another process has taken over the folder of this run."""


@dataclass(frozen=True)
class Lock:
    """The content of a lock.

    Attributes:
        holder: the process, `process 12 on node7`; empty: released.
        writer: the id of this holder.
        since: when it was taken, in seconds since the epoch.
        written: when it was written last.
    """

    holder: str = ""
    writer: str = ""
    since: float = 0.0
    written: float = 0.0

    def __str__(self) -> str:
        since = f" (since {time.strftime('%Y-%m-%d %H:%M', time.gmtime(self.since))} UTC)" if self.since else ""
        return f"{self.holder}{since}"


class Lease:
    """The right of this process to write into a folder of a store.

    Args:
        store: the folder.
        note: a file of this machine that says which lock is its own; a start here does not wait for a killed one.
        failed: is called with the reason if a sign of life could not be written.
    """

    def __init__(self, store: Store, note: Path, failed: Callable[[Exception], None]) -> None:
        self._store, self._note, self._failed = store, note, failed
        self._lock = Lock(lock.me(), uuid.uuid4().hex)
        self._number = 0
        self._ended, self._writing = threading.Event(), threading.Lock()  # no sign of life after the release

    def take(self, moved: Moved) -> None:
        """Take the folder; a holder that may be alive is watched until it is known.

        Args:
            moved: is called while it waits.

        Raises:
            FrameworkError: another process has it.
        """
        latest, newest_lock = newest(self._store)
        if newest_lock.holder and newest_lock.writer != _noted(self._note):
            _watch(self._store, latest, newest_lock, moved)
        self._number = latest + 1
        self._lock = replace(self._lock, since=time.time(), written=time.time())
        created = self._store.create(self._name, _encoded(self._lock))
        newest_generation, newest_lock = newest(self._store)
        if newest_lock.writer != self._lock.writer:
            if (
                created and newest_generation != self._number
            ):  # the folder was taken, and this number removed, before it was created
                self._store.remove(self._name)
            raise _locked(self._store, newest_lock)
        if self._store.create(self._name, _encoded(self._lock)):
            print(
                f"{self._store.url}: this store cannot refuse a second writer (it has no conditional writes), "
                "so do not start a run twice at the same moment",
                file=sys.stderr,
            )
        self._note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._note, self._lock.writer)
        for generation in _numbers(self._store):
            if generation < self._number:
                self._store.discard(_name(generation))
        # A daemon: a server that hangs must not keep the process.
        threading.Thread(target=self._beat, daemon=True).start()

    def check(self) -> None:
        """Look whether this process still has the folder.

        Raises:
            TakenError: another has taken it.
        """
        if _read(self._store, self._number).writer != self._lock.writer:
            by = newest(self._store)[1]
            raise TakenError(f"{by if by.holder else 'another process'} works there now")

    def release(self, *, forget: bool = False) -> None:
        """Let another process have the folder at once, if this one has it.

        Args:
            forget: nothing was begun in the folder, so the lock is removed too.
        """
        self.end()
        if not self._number:
            return
        with self._writing:
            if _read(self._store, self._number).writer != self._lock.writer:
                return
            if forget:
                self._store.remove(self._name)
            else:
                self._store.write(self._name, _encoded(replace(self._lock, holder="")))
            self._note.unlink(missing_ok=True)

    def end(self) -> None:
        """Give no sign of life any more."""
        self._ended.set()

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                with self._writing:
                    if self._ended.is_set():
                        return
                    self.check()
                    self._lock = replace(self._lock, written=time.time())
                    self._store.write(self._name, _encoded(self._lock))
            except TakenError:  # whoever sends next finds out, and says it
                return
            except Exception as error:  # noqa: BLE001 - a store may raise anything, and may come back
                self._failed(error)

    @property
    def _name(self) -> str:
        return _name(self._number)


def newest(store: Store) -> tuple[int, Lock]:
    """Return the lock of a folder with its number; 0 and one that nobody holds if there is none."""
    generation = max(_numbers(store), default=0)
    return generation, _read(store, generation) if generation else Lock()


def alive(store: Store, note: Path) -> str:
    """Return who works in a folder from another machine; empty if nobody does, by the clocks."""
    newest_lock = newest(store)[1]
    is_alive = newest_lock.writer != _noted(note) and abs(time.time() - newest_lock.written) < DEAD_AFTER_SECONDS
    return newest_lock.holder if is_alive else ""


def _noted(note: Path) -> str:
    try:
        return note.read_text(encoding="utf-8")
    except (OSError, ValueError):  # none, or damaged: then the lock is watched
        return ""


def _watch(store: Store, generation: int, rival: Lock, moved: Moved) -> None:
    """Wait until a holder gives a sign of life, or is dead.

    Raises:
        FrameworkError: it is alive.
    """
    if rival.written and abs(time.time() - rival.written) > lock.CLOCK_SKEW_SECONDS:
        return
    print(
        f"{store.url}: {rival.holder} may still be running: waiting up to {DEAD_AFTER_SECONDS:g} s to find out",
        file=sys.stderr,
    )
    end = time.monotonic() + DEAD_AFTER_SECONDS
    while time.monotonic() < end:
        time.sleep(POLL_SECONDS)
        now = _read(store, generation)
        moved()
        if not now.holder and now.writer == rival.writer:
            raise FrameworkError(
                f"{store.url}: {rival.holder} worked there until a moment ago\nStart again to continue with what it "
                "has left, or set another run_dir"
            )
        if not now.holder:  # another process was faster, which the store will tell
            return
        if now != rival:
            raise _locked(store, now)


def _locked(store: Store, rival: Lock) -> FrameworkError:
    by = rival if rival.holder else "another process"
    return FrameworkError(f"{store.url}: locked by {by}. Wait for it to finish or set another run_dir")


def _numbers(store: Store) -> list[int]:
    return [int(match[1]) for name in store.names() if (match := NAME.fullmatch(name))]


def _name(generation: int) -> str:
    return f".store.{generation}.lock"


def _encoded(state: Lock) -> bytes:
    return json.dumps(asdict(state)).encode()


def _read(store: Store, generation: int) -> Lock:
    """Read a lock; one that is not there is held by nobody, and one that no run wrote by another process."""
    content = store.read(_name(generation))
    if content is None:
        return Lock()
    try:
        plain = json.loads(content)
        state = Lock(str(plain["holder"]), str(plain["writer"]), float(plain["since"]), float(plain["written"]))
        time.gmtime(state.since)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError, OSError):
        return Lock("another process")
    return replace(
        state, holder="".join(character if character.isprintable() else "?" for character in state.holder[:200])
    )
