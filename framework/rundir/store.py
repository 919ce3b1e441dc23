"""A run folder on an object store, `run_dir=s3://bucket/folder`, by fsspec.

The run works in a folder of this machine, the mirror. A thread copies to the store what is whole there: the result of
each stage and each checkpoint. `.store.json` in the store lists the files that belong together and is written last, so
what it lists is whole, whenever the machine is lost.

No training waits for a store. What is sent is linked first, so that a checkpoint that rotates away meanwhile is sent to
its end; while a store is slow, checkpoints are passed over and the newest is sent.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import re
import shutil
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from framework.api.run_folder import OVERRIDES, RunFolder
from framework.api.schema import Stage
from framework.api.text import count
from framework.rundir.lease import Lease, TakenError, alive
from framework.rundir.objects import Moved, Store
from framework.util import lock
from framework.util.cache import cache_dir
from framework.util.command import this_program
from framework.util.errors import STORES, FrameworkError, display_run, is_url, summarize_error
from framework.util.files import PART_SUFFIX, write_atomically

INDEX = ".store.json"
MANIFEST = "manifest.json"
MARKS = (*(f"{stage.value}.json" for stage in Stage), "status.json", "plan.json")
"""Files of a run folder that are written when something is complete."""
POLL_SECONDS, RETRY_SECONDS = 1.0, 10.0
"""Seconds between two looks at the mirror, and after which a store that failed is tried again."""
FIRST_FOLDER = 3
"""The place of the first folder in the parts of a URL, after `s3:`, nothing and the bucket."""
ANSWER_SECONDS = 60.0
"""Seconds for which a store may be silent while a run or a command reads from it."""
COPIED = 1 << 24
"""Files up to this size are copied before they are sent, since loggers append to theirs; others are linked."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """The content of `.store.json`.

    Attributes:
        files: bytes and time of change of each file that is whole in the store, by its path.
        writer: the id of the start that wrote it. A write whose answer was lost has it too.
        before: the id of the start that wrote before that.
    """

    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    writer: str = ""
    before: str = ""


def mirror(run_dir: str) -> Path:
    """Return the folder of this machine in which a run works; that of a URL is in the user's cache.

    Raises:
        FrameworkError: it is meant to be a URL, and is not that of a run.
    """
    if is_url(run_dir):
        return _mirror(run_dir, least=1 if run_dir.startswith(("file:", "local:")) else 2)
    if "://" in run_dir or re.match(r"[A-Za-z][\w+.-]+:/", run_dir):
        raise FrameworkError(
            f"run_dir={run_dir} is neither a folder nor the URL of one: the URL of a store has the form s3://BUCKET/FOLDER"
        )
    return Path(run_dir).absolute()


def _mirror(url: str, least: int) -> Path:
    """Return where what is below a URL is on this machine; `least`: the parts that its path has to have."""
    protocol, _, path = url.partition("://")
    parts = [part for part in path.split("/") if part]
    if parts and ":" in parts[0].rpartition("@")[0]:  # of it a folder is made, whose name many lines show
        raise FrameworkError(
            f"{protocol}://…@{parts[0].rpartition('@')[2]}: leave the password out of the URL, and set it where the "
            f"library of the store reads it, such as the variable FSSPEC_{protocol.upper()}_PASSWORD"
        )
    if len(parts) < least or {".", ".."} & {*parts}:
        raise FrameworkError(f"{url}: name a bucket and a folder in it, {protocol}://BUCKET/FOLDER")
    return Path(cache_dir().absolute(), STORES, protocol, *parts)


def saved_index(store: Store) -> Index | None:
    """Read the index of a run on a store; None if there is none.

    Raises:
        FrameworkError: it is not what a run writes.
    """
    content = store.read(INDEX)
    return None if content is None else read_index(content, f"{store.url}/{INDEX}")


def read_index(content: bytes, name: str) -> Index:
    """Read the content of an index, which may come from anywhere.

    Raises:
        FrameworkError: it is not what a run writes.
    """
    try:
        plain = json.loads(content)
        files = {str(path): (int(size), int(changed)) for path, (size, changed) in plain.pop("files").items()}
        index = Index(files, **plain)
        if not isinstance(index.writer, str) or not isinstance(index.before, str):
            raise TypeError  # noqa: TRY301 - as of any other field
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise _foreign(name, "it is not JSON with the fields of an index") from error
    stray = [path for path in files if path.startswith("/") or {"..", ".", ""} & {*PurePosixPath(path).parts, path}]
    if stray:
        raise _foreign(name, f"it lists {stray[0]!r:.100}")
    return index


def _foreign(name: str, problem: str) -> FrameworkError:
    return FrameworkError(f"{name} is not what a run writes ({problem})\nRestore it, or give another folder")


def fetch(url: str, needed: Callable[[str], bool] | None = None, *, required: bool = False) -> Path:
    """Bring a run from a store into its mirror, and return that.

    The mirror stays as it is while the store has nothing that another machine wrote: then it has all of the store, and
    perhaps more, which a later start sends.

    Args:
        url: the folder of the run.
        needed: the files to fetch; None: all, and what the store does not list is removed from the mirror.
        required: whether a run has to be there.

    Raises:
        FrameworkError: the store refuses or does not answer, or holds no run that is required.
    """
    folder, store = mirror(url), Store(url)
    if not lock.holder(folder / lock.NAME):  # else a run works there
        store.answered(lambda moved: _fetch(store, folder, needed, moved), ANSWER_SECONDS)
    if required and not folder.is_dir():
        raise FrameworkError(f"{url} holds no run\n`{this_program()} runs URL` lists the runs below a URL")
    return folder


def _fetch(store: Store, folder: Path, needed: Callable[[str], bool] | None, moved: Moved) -> None:
    index, local_index = saved_index(store), _local_index(folder)
    if index is None:
        if local_index and needed is None:
            print(
                f"{store.url} holds no run any more: this one continues from {folder}. Remove that to begin again",
                file=sys.stderr,
            )
        return
    if local_index and index.writer in {local_index.writer, local_index.before}:
        return
    lacking = [name for name in index.files if _stat(folder / name) != index.files[name]]
    lacking = [name for name in lacking if needed is None or needed(name)]
    for name in lacking:
        _fetch_file(store, name, folder, index.files[name], moved)
    if needed is None:
        for name in [name for name in _scan(folder) if name not in index.files]:
            (folder / name).unlink(missing_ok=True)
        _save_local_index(folder, index)
        if lacking:
            size = sum(index.files[name][0] for name in lacking)
            print(f"{store.url}: fetched {count(len(lacking), 'file')}, {size / 1e6:,.1f} MB", file=sys.stderr)


def _fetch_file(store: Store, name: str, folder: Path, expected: tuple[int, int], moved: Moved) -> None:
    try:
        store.get(name, folder / name, moved)
    except FileNotFoundError:
        log.warning("%s/%s is listed and is missing: somebody has removed it", store.url, name)
        return
    os.utime(folder / name, ns=(expected[1], expected[1]))
    if name == OVERRIDES:  # it may hold secrets
        (folder / name).chmod(0o600)
    moved()


def fetch_runs(url: str) -> Path:
    """Bring what the lists of runs need from a place in a store, and return the folder of this machine that has it."""
    store = Store(url)
    for run in store.answered(lambda _: store.folders_with(INDEX), ANSWER_SECONDS):
        fetch(run, is_record)
    return _mirror(url, least=1)


def is_record(name: str) -> bool:
    """Whether a file is a result or a setting of a run, not weights."""
    return "/" not in name and name.endswith(".json")


def holder(folder: Path) -> str:
    """Return which process, on another machine, works on the run of a mirror; empty if none does."""
    url = display_run(folder)
    if not is_url(url):
        return ""
    store = Store(url)
    return store.answered(lambda _: alive(store, _note(folder)), ANSWER_SECONDS)


@contextlib.contextmanager
def mirrored(url: str, folder: Path, seconds: float) -> Iterator[None]:
    """Send what a run completes in `folder` to the store, as long as the context lasts, and the rest at its end.

    Args:
        url: of the run's folder; empty if it is on no store.
        folder: its mirror.
        seconds: for which the end of the run waits for a store that takes nothing.

    Raises:
        FrameworkError: the store cannot be written, another process works there, or at the end it lacks something.
    """
    if not url:
        yield
        return
    sending = Mirror(Store(url), folder)
    try:
        sending.store.answered(sending.begin, ANSWER_SECONDS)
    except FrameworkError:
        sending.give_up()
        raise
    thread = threading.Thread(target=sending.work, daemon=True)  # a server that hangs must not keep the process
    thread.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        lacking = sending.finish(thread, seconds, f"resume {url}" if failed else f"run_dir={url} stages=[report]")
        if lacking and not failed:
            raise FrameworkError(lacking)
        if lacking:
            log.warning("%s", lacking)


class Mirror:
    """Sends what is whole in a mirror.

    Args:
        store: the folder of the run.
        folder: the mirror.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self._index = Index(writer=uuid.uuid4().hex)
        self._has: dict[str, tuple[int, int]] = {}
        """What the store has of the run, listed or not: what is sent once is not sent again after a failure."""
        self._sent: dict[str, int] = {}
        """The most bytes that the store took of a file which it then did not take whole."""
        self._lease = Lease(store, _note(folder), self._warn)
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._complete = False
        self._moved = time.monotonic()
        self._problem, self._is_taken = "", False
        self._told = set[str]()

    def begin(self, moved: Moved) -> None:
        """Take the folder for this process, which also shows whether it can be written.

        Raises:
            FrameworkError: it cannot, or another process works there.
        """
        local_index, index = _local_index(self.folder), None
        try:
            self._lease.take(moved)
            index = saved_index(self.store)
            if index is None:
                _check_above(self.store.url)
            _fetch(self.store, self.folder, None, moved)  # a queue may have started this run on a new machine
            self._index = replace(self._index, before=index.writer if index else "")
            self._has = dict(index.files) if index else {}
            self._write(self._has)
        except BaseException:
            if local_index is None and index is None:  # a run that is refused leaves nothing
                _local_file(self.folder).unlink(missing_ok=True)
            self._lease.release(forget=index is None)
            raise

    def work(self) -> None:
        """Send until the end is asked for, and then what is left."""
        sent: Mapping[str, Any] | None = None
        while not self._ending.wait(POLL_SECONDS):
            files = _scan(self.folder)
            marks = {name: stamp for name, stamp in files.items() if _is_mark(name)}
            try:
                if marks != sent:
                    self._send()
                    sent = marks
                    self._problem = ""
            except TakenError as error:
                self._problem, self._is_taken = str(error), True
                log.warning("%s: %s. This run continues and sends nothing more", self.store.url, error)
                return
            except Exception as error:  # noqa: BLE001 - a store may raise anything, and the training continues
                self._warn(error)
                self._ending.wait(RETRY_SECONDS)
        while not self._complete and not self._given_up.is_set():
            try:
                self._send(ends=True)
                self._complete = True
            except TakenError as error:
                self._problem, self._is_taken = str(error), True
                return
            except Exception as error:  # noqa: BLE001 - as above; `finish` says it
                self._problem = summarize_error(error)
                time.sleep(POLL_SECONDS)

    def finish(self, thread: threading.Thread, seconds: float, words: str) -> str:
        """Wait until the rest is sent, but no longer than `seconds` after the last byte; say what is not.

        Args:
            thread: the one that sends.
            seconds: as above.
            words: what sends the rest later, after the name of the program.
        """
        self._moved = time.monotonic()
        self._ending.set()
        try:
            while thread.is_alive() and time.monotonic() - self._moved < seconds:
                thread.join(0.05)
        finally:  # a signal may end the wait
            self.give_up()
        if self._complete:
            return ""
        problem = self._problem or f"it took nothing for store_seconds={seconds:g}"
        if self._is_taken:  # a later start takes what the store has
            fix = f"All of it is in {self.folder}: copy that to keep it, since another start replaces it"
        else:
            fix = f"The rest is in {self.folder}: send it with `{this_program()} {words}`"
        return f"{self.store.url} does not have all of the run: {problem}\n{fix}"

    def give_up(self) -> None:
        """Send nothing more, not even signs of life."""
        self._given_up.set()
        self._lease.end()

    def _warn(self, error: Exception) -> None:
        self._problem = summarize_error(error)
        if self._problem not in self._told:  # once, not every few seconds
            log.warning("%s takes nothing, and the run continues: %s", self.store.url, self._problem)
        self._told.add(self._problem)

    def _check_running(self) -> None:
        """Send nothing more once the run has given up."""
        if self._given_up.is_set():
            raise TakenError("the run has ended")

    def _progress(self) -> None:
        """Note that something moved."""
        self._check_running()
        self._moved = time.monotonic()

    def _note_sent(self, name: str, size: int) -> None:
        """Note that a store has taken more of a file than in any earlier try: a try that it refuses moves nothing."""
        self._check_running()
        if size > self._sent.get(name, 0):
            self._sent[name] = size
            self._moved = time.monotonic()

    def _send(self, *, ends: bool = False) -> None:
        """Send what has changed. What the index lists is whole at any time.

        Args:
            ends: whether this process then leaves the folder to others.
        """
        self._lease.check()
        listing = self._index.files
        part = self.folder.with_name(self.folder.name + PART_SUFFIX)
        shutil.rmtree(part, ignore_errors=True)
        try:
            files = _scan(self.folder)
            changed = [name for name, stamp in files.items() if self._has.get(name) != stamp]
            for name in changed:
                _snapshot(self.folder / name, part / name)
            snapshots = _scan(part)
            # Of a folder that vanished meanwhile, a checkpoint, not all was there: it is not sent.
            half = {_unit(name) for name in changed if name not in snapshots}
            files = {name: snapshots.get(name, stamp) for name, stamp in files.items() if _unit(name) not in half}
            snapshots = {name: stamp for name, stamp in snapshots.items() if name in files}
            gone = [name for name in self._has if name not in files]
            replaced = {_unit(name) for name in snapshots if "/" in name} & {_unit(name) for name in listing}
            if replaced:
                self._write({name: stamp for name, stamp in listing.items() if _unit(name) not in replaced})
            for name in sorted(snapshots, key=lambda name: ("/" not in name, _is_mark(name))):
                self.store.put(part / name, name, functools.partial(self._note_sent, name))
                self._has[name] = snapshots[name]
                self._sent.pop(name, None)
                self._progress()
            empty = not files and ends  # nothing had begun
            if not empty and files != listing:
                self._write(files)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for name in gone:
            self.store.discard(name)
            del self._has[name]
            self._progress()
        if empty:
            self.store.remove(INDEX)
            _local_file(self.folder).unlink(missing_ok=True)
        if ends:
            self._lease.release(forget=empty)

    def _write(self, files: Mapping[str, tuple[int, int]]) -> None:
        self._check_running()
        self._lease.check()
        index = replace(self._index, files=dict(files))
        _save_local_index(self.folder, index)
        self.store.write(INDEX, json.dumps(asdict(index)).encode())
        self._index = index
        self._moved = time.monotonic()


def _check_above(url: str) -> None:
    """Refuse a folder that lies in a run.

    Raises:
        FrameworkError: names the run.
    """
    parts = url.split("/")
    for depth in range(len(parts) - 1, FIRST_FOLDER, -1):
        above = "/".join(parts[:depth])
        with contextlib.suppress(OSError):  # of a place that this user may not read
            if Store(above).read(INDEX) is not None:
                raise FrameworkError(f"run_dir={url} is in the run {above}: give a folder outside of it")


def _local_file(folder: Path) -> Path:
    """Return where the index of a mirror lies: beside it, since a new run folder is empty."""
    return folder.with_name(folder.name + INDEX)


def _note(folder: Path) -> Path:
    """Return the file, beside a mirror, that says which lock in the store is that of this machine."""
    return folder.with_name(f"{folder.name}.store.lock")


def _local_index(folder: Path) -> Index | None:
    """Return the index as this machine has read or written it last."""
    try:
        return read_index(_local_file(folder).read_bytes(), str(_local_file(folder)))
    except (OSError, FrameworkError):  # none, or damaged: then the store counts
        return None


def _save_local_index(folder: Path, index: Index) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(_local_file(folder), json.dumps(asdict(index)))


def _scan(folder: Path) -> dict[str, tuple[int, int]]:
    """Return bytes and time of change of each whole file of a run folder by its path in it."""
    stamps: dict[str, tuple[int, int]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(PART_SUFFIX))
        for file in (Path(parent, name) for name in sorted(names)):
            if file.name != lock.NAME and not file.name.endswith(PART_SUFFIX) and (stamp := _stat(file)):
                stamps[file.relative_to(folder).as_posix()] = stamp
    return stamps


def _stat(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except OSError:  # it is not there, or was removed meanwhile
        return None
    return status.st_size, status.st_mtime_ns


def _snapshot(file: Path, target: Path) -> None:
    """Keep a file as it is now; what vanishes meanwhile is left out."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_size <= COPIED:
            shutil.copy2(file, target)
            return
        try:
            target.hardlink_to(file)
        except OSError as error:  # a file system without links
            if error.errno == errno.ENOENT:
                raise
            shutil.copy2(file, target)


def _unit(name: str) -> str:
    """Return what a file belongs to: a folder is whole with all of its files, and so is each checkpoint."""
    parts = name.split("/")
    return "/".join(parts[: 2 if parts[0] == RunFolder.TRAINING_STATE else 1])


def _is_mark(name: str) -> bool:
    """Whether a file shows that something is complete."""
    return name in MARKS or bool(re.fullmatch(rf"{re.escape(RunFolder.TRAINING_STATE)}/[^/]+/{MANIFEST}", name))
