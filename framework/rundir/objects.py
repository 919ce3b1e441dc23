"""A folder of an object store: its objects are read and written by fsspec, whatever the store is.

fsspec calls may raise anything and may never return, so `answered` gives up on a store that is silent.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from framework.util.errors import FrameworkError, summarize_error
from framework.util.files import PART_SUFFIX, write_atomically
from framework.util.lock import NO_LOCKS

DEEPEST = 4
"""How far below a place objects are searched for, as below a folder."""
NO_SUCH_MODE = (TypeError, ValueError, NotImplementedError)
"""What a library raises that cannot write under a condition."""
FULL = {errno.ENOSPC, errno.EDQUOT}
EXTRA = "framework-finetune[s3]"
log = logging.getLogger(__name__)
T = TypeVar("T")
Moved = Callable[[], None]
"""Is called if something moves: the store is not silent."""


class Store:
    """A folder on a store.

    Args:
        url: of the folder.

    Raises:
        FrameworkError: fsspec does not know the protocol, or lacks a library for it.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._keeps = False
        protocol = url.partition("://")[0]
        from fsspec.core import url_to_fs  # noqa: PLC0415 - only runs on a store need it
        from fsspec.registry import available_protocols  # noqa: PLC0415 - as above

        self._is_local = protocol in {"file", "local"}
        try:
            self.system, path = url_to_fs(url, **({"auto_mkdir": True} if self._is_local else {}))
        except ImportError as error:
            from framework.util.requirements import pip_command  # noqa: PLC0415 - urllib.request brings http and ssl

            # fsspec names the library: "Please install gcsfs to access Google Storage".
            fix = f"Install it: {pip_command([EXTRA])}" if protocol in {"s3", "s3a"} else str(error)
            raise FrameworkError(f"{url}: the library for {protocol}:// is not installed\n{fix}") from error
        except ValueError as error:
            protocols = ", ".join(name for name in ("s3", "gs", "abfs", "file") if name in available_protocols())
            raise FrameworkError(
                f"{url}: fsspec knows no protocol {protocol}://\nTypical ones are {protocols}; or set run_dir=FOLDER"
            ) from error
        except Exception as error:
            raise self.refusal("cannot be opened", error) from error
        self.root = str(path).rstrip("/")

    def refusal(self, problem: str, error: BaseException) -> FrameworkError:
        """Return the two lines about a store that refuses."""
        reason = summarize_error(error)
        if isinstance(error, RecursionError):
            reason = "it redirects without end: check its endpoint and its region"
        fix = "Check the URL and the network, or set run_dir=FOLDER"
        if isinstance(error, PermissionError) or "redential" in reason:
            fix = "Check the credentials and what they may do there, or set run_dir=FOLDER"
        elif isinstance(error, FileNotFoundError):
            fix = "Make the bucket first, or correct the URL"
        elif isinstance(error, OSError) and error.errno in FULL:
            fix = "Make room there, or set run_dir=FOLDER"
        return FrameworkError(f"{self.url} {problem}: {reason}\n{fix}")

    def read(self, name: str) -> bytes | None:
        """Return the content of an object; None if there is none."""
        try:
            return bytes(self.system.cat_file(f"{self.root}/{name}"))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, atomically, as every store does."""
        if self._is_local:
            write_atomically(Path(self.root, name), content)
        else:
            self.system.pipe_file(f"{self.root}/{name}", content)

    def create(self, name: str, content: bytes) -> bool:
        """Write an object if there is none of its name; otherwise return False.

        Of several writers one succeeds, on S3, GCS, Azure, local disks and in memory. Other stores overwrite instead,
        which shows when the same writer creates an object again.
        """
        try:
            self._create(f"{self.root}/{name}", content)
        except Exception as error:
            if isinstance(error, NO_SUCH_MODE) or getattr(error, "errno", None) in NO_LOCKS:
                self.write(name, content)
                return True
            # Libraries raise different errors here, and one whose answer was lost is tried again by some.
            if isinstance(error, FileExistsError) or self.read(name) is not None:
                return False
            raise
        return True

    def _create(self, path: str, content: bytes) -> None:
        from fsspec import AbstractFileSystem  # noqa: PLC0415 - only runs on a store need it

        pipe = self.system.pipe_file
        if getattr(pipe, "__func__", None) is not AbstractFileSystem.pipe_file:
            pipe(path, content, mode="create")
            return
        # fsspec's own looks first and writes then, and another process may come between.
        self.system.makedirs(self.root, exist_ok=True)
        with self.system.open(path, "xb") as opened:
            opened.write(content)

    def names(self) -> list[str]:
        """Return the names of the objects in the folder, not below it."""
        self.system.invalidate_cache()
        try:
            paths = self.system.ls(self.root, detail=False)
        except FileNotFoundError:
            return []
        return [str(path).rpartition("/")[2] for path in paths]

    def folders_with(self, name: str) -> list[str]:
        """Return the URLs of this folder and of those below it that have an object of this name."""
        self.system.invalidate_cache()
        paths = [*map(str, self.system.find(self.root, maxdepth=DEEPEST + 1))]
        if not paths:
            self.names()  # some libraries find nothing, without an error, if they reach nobody
        folders = [path.removesuffix(f"/{name}") for path in paths if path.endswith(f"/{name}")]
        return sorted(f"{self.url.rstrip('/')}{path.removeprefix(self.root)}" for path in folders)

    def put(self, file: Path, name: str, sent: Callable[[int], None]) -> None:
        """Send a file; `sent` is called with the bytes that the store has taken of it, 0 when it begins."""
        self.system.put_file(str(file), f"{self.root}/{name}", callback=_callback(sent))

    def get(self, name: str, file: Path, moved: Moved) -> None:
        """Fetch a file, atomically."""
        file.parent.mkdir(parents=True, exist_ok=True)
        half = file.with_name(file.name + PART_SUFFIX)
        try:
            self.system.get_file(f"{self.root}/{name}", str(half), callback=_callback(lambda _: moved()))
            half.replace(file)
        finally:
            half.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove an object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.system.rm_file(f"{self.root}/{name}")

    def discard(self, name: str) -> None:
        """Remove what is no longer needed. A store that allows no deletes keeps it, which harms nothing."""
        try:
            self.remove(name)
        except Exception as error:  # noqa: BLE001 - a store may raise anything
            if not self._keeps:
                log.warning("%s deletes nothing, and what is not needed stays: %s", self.url, summarize_error(error))
            self._keeps = True

    def answered(self, work: Callable[[Moved], T], seconds: float) -> T:
        """Call in a thread, and give up if nothing moves for `seconds`: a server that hangs may never answer.

        Raises:
            FrameworkError: nothing moved, or the store refused.
        """
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
            raise self.refusal("cannot be used", errors[0]) from errors[0]
        if not results:
            raise FrameworkError(
                f"{self.url} has not answered for {seconds:g} s\n"
                "Check the network and the endpoint, or set run_dir=FOLDER"
            )
        return results[0]


def _callback(moved: Callable[[int], None]) -> Any:
    from fsspec.callbacks import Callback  # noqa: PLC0415 - only runs on a store need it

    class Beat(Callback):
        def call(self, *_: Any, **__: Any) -> None:
            moved(self.value)

    return Beat()
