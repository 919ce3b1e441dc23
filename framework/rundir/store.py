"""A run folder on an object store, `run_dir=s3://bucket/folder`, by fsspec.

The run works in a folder of this machine, the mirror. A thread copies to the store what is whole there: the result of
each stage and each checkpoint. `.store.json` in the store lists the files that belong together and is written last, so
what it lists is whole, whenever the machine is lost. It also says which process works there, so that two do not mix.

No training waits for a store. What is sent is linked first, so that a checkpoint that rotates away meanwhile is sent to
its end; while a store is slow, checkpoints are passed over and the newest is sent.
"""

from __future__ import annotations

import contextlib
import errno
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
from typing import Any, TypeVar

from framework.api.run_folder import OVERRIDES, TRAINING_STATE
from framework.api.schema import Stage
from framework.api.text import count
from framework.util import lock
from framework.util.cache import cache_dir
from framework.util.command import this_program
from framework.util.errors import STORES, FrameworkError, display_run, is_url, summarize_error
from framework.util.files import PART_SUFFIX, write_atomically

INDEX = ".store.json"
MANIFEST = "manifest.json"
MARKS = (*(f"{stage.value}.json" for stage in Stage), "status.json", "plan.json")
"""Files of a run folder that are written when something is complete."""
DEEPEST = 4
"""How far below a place runs are searched for, as below a folder."""
POLL_SECONDS, BEAT_SECONDS, DEAD_AFTER_SECONDS = 1.0, 15.0, 60.0
"""Seconds between two looks at the mirror, between two signs of life, and after which a holder without one is dead."""
RETRY_SECONDS = 10.0
"""Seconds after which a store that failed is tried again."""
ANSWER_SECONDS = 60.0
"""Seconds for which a store may be silent while a run or a command reads from it."""
COPIED = 1 << 24
"""Files up to this size are copied before they are sent, since loggers append to theirs; others are linked."""
EXTRA = "framework-finetune[s3]"
T = TypeVar("T")
Moved = Callable[[], None]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Index:
    """The content of `.store.json`.

    Attributes:
        files: bytes and time of change of each file that is whole in the store, by its path.
        holder: the process that works there, `process 12 on node7`; empty if none does.
        place: the machine and the mirror of the last writer.
        writer: the id of the start that wrote it. A write whose answer was lost has it too.
        before: the id of the start that wrote before that.
        written: when, in seconds since the epoch.
    """

    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    holder: str = ""
    place: str = ""
    writer: str = ""
    before: str = ""
    written: float = 0.0

    @property
    def is_held(self) -> bool:
        """Whether a process works there that has given a sign of life lately."""
        return bool(self.holder) and abs(time.time() - self.written) < DEAD_AFTER_SECONDS


class TakenError(FrameworkError):
    """Another process has written into the folder of this run."""


def mirror(place: str) -> Path:
    """Return the folder of this machine in which a run works; that of a URL is in the user's cache."""
    if not is_url(place):
        return Path(place).absolute()
    protocol, _, path = place.partition("://")
    parts = [part for part in path.split("/") if part]
    if not parts or ".." in parts:
        raise FrameworkError(f"run_dir={place}: name a bucket and a folder in it, {protocol}://BUCKET/FOLDER")
    return Path(cache_dir().absolute(), STORES, protocol, *parts)


class Store:
    """A folder on a store.

    Args:
        url: of the folder.

    Raises:
        FrameworkError: fsspec does not know the protocol, or lacks a library for it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        protocol = url.partition("://")[0]
        from fsspec.core import url_to_fs  # noqa: PLC0415 - only runs on a store need it
        from fsspec.registry import available_protocols  # noqa: PLC0415 - as above

        options = {"auto_mkdir": True} if protocol in {"file", "local"} else {}
        try:
            self.system, path = url_to_fs(url, **options)
        except ImportError as error:
            from framework.util.requirements import pip_command  # noqa: PLC0415 - urllib.request brings http and ssl

            fix = pip_command([EXTRA]) if protocol in {"s3", "s3a"} else str(error)
            raise FrameworkError(f"{url}: the library for {protocol}:// is not installed\nInstall it: {fix}") from error
        except ValueError as error:
            known = ", ".join(name for name in ("s3", "gs", "abfs", "file") if name in available_protocols())
            raise FrameworkError(
                f"{url}: fsspec knows no protocol {protocol}://\nTypical ones are {known}; or set run_dir=FOLDER"
            ) from error
        except Exception as error:
            raise self.refusal("cannot be opened", error) from error
        self.root = str(path).rstrip("/")

    def refusal(self, what: str, error: BaseException) -> FrameworkError:
        """Return the two lines about a store that refuses."""
        reason = summarize_error(error)
        fix = "Check the URL and the network, or set run_dir=FOLDER"
        if isinstance(error, PermissionError) or "redential" in reason:
            fix = "Check the credentials and what they may do there, or set run_dir=FOLDER"
        elif isinstance(error, FileNotFoundError):
            fix = "Make the bucket first, or correct the URL"
        return FrameworkError(f"{self.url} {what}: {reason}\n{fix}")

    def index(self) -> Index | None:
        """Read the index; None if there is none.

        Raises:
            FrameworkError: it is not what a run writes.
        """
        try:
            content = self.system.cat_file(f"{self.root}/{INDEX}")
        except FileNotFoundError:
            return None
        return read_index(content, f"{self.url}/{INDEX}")

    def save_index(self, index: Index) -> None:
        """Write the index; each object of a store is atomic."""
        self.system.pipe_file(f"{self.root}/{INDEX}", json.dumps(asdict(index)).encode())

    def put(self, file: Path, name: str, moved: Moved) -> None:
        """Send a file."""
        self.system.put_file(str(file), f"{self.root}/{name}", callback=_callback(moved))

    def get(self, name: str, file: Path, moved: Moved) -> None:
        """Fetch a file, atomically."""
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(file.name + PART_SUFFIX)
        try:
            self.system.get_file(f"{self.root}/{name}", str(half), callback=_callback(moved))
            half.replace(file)
        finally:
            half.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.system.rm_file(f"{self.root}/{name}")

    def runs(self) -> list[str]:
        """Return the URLs of the runs in this folder and below it."""
        self.system.invalidate_cache()
        names = map(str, self.system.find(self.root, maxdepth=DEEPEST + 1))
        found = [name.removesuffix(f"/{INDEX}") for name in names if name.endswith(f"/{INDEX}")]
        return sorted(f"{self.url.rstrip('/')}{name.removeprefix(self.root)}" for name in found)


def read_index(content: bytes, name: str) -> Index:
    """Read the content of an index, which may come from anywhere.

    Raises:
        FrameworkError: it is not what a run writes.
    """
    try:
        plain = json.loads(content)
        files = {str(path): (int(size), int(changed)) for path, (size, changed) in plain.pop("files").items()}
        index = Index(files, **plain)
        stray = [path for path in files if path.startswith("/") or {"..", ""} & {*PurePosixPath(path).parts, path}]
        if stray or not isinstance(index.writer, str) or not isinstance(index.written, int | float):
            raise ValueError(f"it lists {stray[0]}" if stray else "a field has another type")  # noqa: TRY301
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FrameworkError(
            f"{name} is not what a run writes ({error})\nRestore it, or give another folder"
        ) from error
    return index


def fetch(
    url: str,
    needed: Callable[[str], bool] | None = None,
    *,
    required: bool = False,
    seconds: float = ANSWER_SECONDS,
) -> Path:
    """Bring a run from a store into its mirror, and return that.

    The mirror stays as it is while the store has nothing that another machine wrote: then it has all of the store, and
    perhaps more, which a later start sends.

    Args:
        url: the folder of the run.
        needed: the files to fetch; None: all, and what the store does not list is removed from the mirror.
        required: whether a run has to be there.
        seconds: for which the store may be silent.

    Raises:
        FrameworkError: the store refuses or does not answer, or holds no run that is required.
    """
    folder, store = mirror(url), Store(url)
    if not lock.holder(folder / lock.NAME):  # else a run works there
        _answered(store, lambda moved: _fetch(store, folder, needed, moved, required=required), seconds)
    return folder


def _fetch(
    store: Store, folder: Path, needed: Callable[[str], bool] | None, moved: Moved, *, required: bool = False
) -> None:
    index, known = store.index(), _local_index(folder)
    if index is None:
        if required and not folder.is_dir():
            raise FrameworkError(f"{store.url} holds no run\n`{this_program()} runs URL` lists the runs below a URL")
        if known and needed is None:
            print(
                f"{store.url} holds no run any more: this one continues from {folder}. Remove that to begin again",
                file=sys.stderr,
            )
        return
    if known and index.writer in {known.writer, known.before}:
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
    for run in _answered(store, lambda _: store.runs(), ANSWER_SECONDS):
        fetch(run, is_record)
    return mirror(url)


def is_record(name: str) -> bool:
    """Whether a file is a result or a setting of a run, not weights."""
    return "/" not in name and name.endswith(".json")


def holder(folder: Path) -> str:
    """Return which process, on another machine, works on the run of a mirror; empty if none does."""
    url = display_run(folder)
    if not is_url(url):
        return ""
    store = Store(url)
    index = _answered(store, lambda _: store.index(), ANSWER_SECONDS)
    return index.holder if index and index.is_held and index.place != _place(folder) else ""


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
    _answered(sending.store, sending.begin, max(ANSWER_SECONDS, DEAD_AFTER_SECONDS + RETRY_SECONDS))
    thread = threading.Thread(target=sending.work, daemon=True)  # a server that hangs must not keep the process
    thread.start()
    failed = True
    try:
        yield
        failed = False
    finally:
        lacking = sending.finish(thread, seconds)
        if lacking:
            words = f"resume {url}" if failed else f"run_dir={url} stages=[report]"
            lacking += f"\nThe rest is in {folder}: send it with `{this_program()} {words}`"
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
        self._index = Index(holder=lock.me(), place=_place(folder), writer=uuid.uuid4().hex)
        self._ending, self._given_up = threading.Event(), threading.Event()
        self._complete = False
        self._moved = time.monotonic()
        self._problem = ""

    def begin(self, moved: Moved) -> None:
        """Take the folder for this process, which also shows whether it can be written.

        Raises:
            FrameworkError: it cannot, or another process works there.
        """
        index = self.store.index()
        if index and index.is_held and index.place != self._index.place:
            print(f"{self.store.url}: {index.holder} may still be running: waiting to find out", file=sys.stderr)
            while index.is_held:
                time.sleep(POLL_SECONDS)
                moved()
                now = self.store.index()
                if now and now.holder and now.written != index.written:
                    raise FrameworkError(
                        f"{self.store.url}: locked by {now.holder}. Wait for it to finish or set another run_dir"
                    )
                index = now or Index()
        _fetch(self.store, self.folder, None, moved)  # a queue may have started this run on a new machine
        index = self.store.index() or Index()
        self._index = replace(self._index, before=index.writer)
        is_new = not _local_file(self.folder).exists()
        try:
            self._write(index.files)
        except Exception:
            if is_new:  # a run that is refused leaves nothing
                _local_file(self.folder).unlink()
            raise

    def work(self) -> None:
        """Send until the end is asked for, and then what is left."""
        sent: Mapping[str, Any] | None = None
        while not self._ending.wait(POLL_SECONDS):
            found = _scan(self.folder)
            marks = {name: each for name, each in found.items() if _is_mark(name)}
            try:
                if marks != sent:
                    self._send(holds=True)
                    sent = marks
                elif time.time() - self._index.written > BEAT_SECONDS:
                    self._check()
                    self._write(self._index.files)
                self._problem = ""
            except TakenError as error:
                self._problem = str(error)
                return
            except Exception as error:  # noqa: BLE001 - a store may raise anything, and the training continues
                self._warn(error)
                self._ending.wait(RETRY_SECONDS)
        while not self._complete and not self._given_up.is_set():
            try:
                self._send(holds=False)
                self._complete = True
            except TakenError as error:
                self._problem = str(error)
                return
            except Exception as error:  # noqa: BLE001 - as above; `finish` says it
                self._problem = summarize_error(error)
                time.sleep(POLL_SECONDS)

    def finish(self, thread: threading.Thread, seconds: float) -> str:
        """Wait until the rest is sent, but no longer than `seconds` after the last byte; say what is not."""
        self._moved = time.monotonic()
        self._ending.set()
        try:
            while thread.is_alive() and time.monotonic() - self._moved < seconds:
                thread.join(0.05)
        finally:  # a signal may end the wait
            self._given_up.set()
        if self._complete:
            return ""
        problem = self._problem or f"it took nothing for store_seconds={seconds:g}"
        return f"{self.store.url} does not have all of the run: {problem}"

    def _warn(self, error: Exception) -> None:
        problem = summarize_error(error)
        if problem != self._problem:  # once, not every few seconds
            log.warning("%s takes nothing, and the run continues: %s", self.store.url, problem)
        self._problem = problem

    def _progress(self) -> None:
        """Note that something moved; nothing more is sent once the run has given up."""
        if self._given_up.is_set():
            raise TakenError("the run has ended")
        self._moved = time.monotonic()

    def _check(self) -> None:
        now = self.store.index()
        if now is None or now.writer != self._index.writer:
            by = now.holder if now and now.holder else "another process"
            raise TakenError(f"{by} has written there meanwhile")

    def _send(self, *, holds: bool) -> None:
        """Send what has changed. What the index lists is whole at any time.

        Args:
            holds: whether this process continues to work there.
        """
        self._check()
        known = self._index.files
        part = self.folder.with_name(self.folder.name + PART_SUFFIX)
        shutil.rmtree(part, ignore_errors=True)
        try:
            found = _scan(self.folder)
            changed = [name for name, each in found.items() if known.get(name) != each]
            for name in changed:
                _snapshot(self.folder / name, part / name)
            taken = _scan(part)
            # Of a folder that vanished meanwhile, a checkpoint, not all was there: it is not sent.
            half = {_unit(name) for name in changed if name not in taken}
            found = {name: taken.get(name, each) for name, each in found.items() if _unit(name) not in half}
            taken = {name: each for name, each in taken.items() if name in found}
            gone = [name for name in known if name not in found]
            replaced = {_unit(name) for name in taken if "/" in name} & {_unit(name) for name in known}
            if replaced:
                self._write({name: each for name, each in known.items() if _unit(name) not in replaced})
            for name in sorted(taken, key=lambda name: ("/" not in name, _is_mark(name))):
                self.store.put(part / name, name, self._progress)
                self._progress()
            empty = not found and not holds  # nothing had begun
            if not empty:
                self._write(found, holds=holds)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for name in gone:
            self.store.remove(name)
            self._progress()
        if empty:
            self.store.remove(INDEX)
            _local_file(self.folder).unlink(missing_ok=True)

    def _write(self, files: Mapping[str, tuple[int, int]], *, holds: bool = True) -> None:
        self._progress()
        index = replace(self._index, files=dict(files), written=time.time(), holder=lock.me() if holds else "")
        _save_local_index(self.folder, index)
        self.store.save_index(index)
        self._index = index


def _answered(store: Store, work: Callable[[Moved], T], seconds: float) -> T:
    """Call in a thread, and give up if nothing moves for `seconds`: a server that hangs may never answer."""
    moved, results = [time.monotonic()], list[T]()
    errors = list[Exception]()

    def called() -> None:
        try:
            results.append(work(lambda: moved.__setitem__(0, time.monotonic())))
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that asked
            errors.append(error)

    thread = threading.Thread(target=called, daemon=True)
    thread.start()
    while thread.is_alive() and time.monotonic() - moved[0] < seconds:
        thread.join(0.02)
    if errors and isinstance(errors[0], FrameworkError):
        raise errors[0]
    if errors:
        raise store.refusal("cannot be used", errors[0]) from errors[0]
    if not results:
        raise FrameworkError(
            f"{store.url} has not answered for {seconds:g} s\nCheck the network and the endpoint, or set run_dir=FOLDER"
        )
    return results[0]


def _callback(moved: Moved) -> Any:
    from fsspec.callbacks import Callback  # noqa: PLC0415 - only runs on a store need it

    class Beat(Callback):
        def call(self, *_: Any, **__: Any) -> None:
            moved()

    return Beat()


def _place(folder: Path) -> str:
    return f"{lock.machine()}:{folder}"


def _local_file(folder: Path) -> Path:
    """Return where the index of a mirror lies: beside it, since a new run folder is empty."""
    return folder.with_name(folder.name + INDEX)


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
    found: dict[str, tuple[int, int]] = {}
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.endswith(PART_SUFFIX))
        for file in (Path(place, name) for name in sorted(names)):
            if file.name != lock.NAME and not file.name.endswith(PART_SUFFIX) and (of_it := _stat(file)):
                found[file.relative_to(folder).as_posix()] = of_it
    return found


def _stat(file: Path) -> tuple[int, int] | None:
    try:
        of_it = file.stat()
    except OSError:  # it is not there, or was removed meanwhile
        return None
    return of_it.st_size, of_it.st_mtime_ns


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
    return "/".join(parts[: 2 if parts[0] == TRAINING_STATE else 1])


def _is_mark(name: str) -> bool:
    """Whether a file shows that something is complete."""
    return name in MARKS or bool(re.fullmatch(rf"{re.escape(TRAINING_STATE)}/[^/]+/{MANIFEST}", name))
