"""The lock of a run folder on a store: conditional writes in memory and on a disk, and a store without them."""

from __future__ import annotations

import errno
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from framework import FrameworkError
from framework.rundir import lease
from framework.rundir.lease import Lease, Lock, TakenError, alive, newest
from framework.rundir.objects import Store
from framework.util.lock import CLOCK_SKEW_SECONDS

RUN = "memory://locked/run"
LEASES: list[Lease] = []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty the store in memory, and let holders die at once."""
    monkeypatch.setattr(lease, "POLL_SECONDS", 0.005)
    monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 0.05)
    yield
    while LEASES:
        LEASES.pop().end()
    MemoryFileSystem.store.clear()


class Starts:
    """Takes a folder as a start on a machine would, which gives signs of life as `BEAT_SECONDS` says at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, store: Store, machine: int) -> Lease:
        made = Lease(store, self.note(machine), lambda error: pytest.fail(str(error)))
        LEASES.append(made)
        made.take(lambda: None)
        return made

    def note(self, machine: int) -> Path:
        return self.folder / f"note-{machine}"


@pytest.fixture
def start(tmp_path: Path) -> Starts:
    return Starts(tmp_path / "notes")


def names(store: Store) -> list[str]:
    return sorted(name for name in store.names() if name.endswith(".lock"))


@pytest.mark.parametrize("protocol", ["memory", "file"])
def test_of_many_that_start_at_once_one_takes_the_folder(tmp_path: Path, protocol: str, start: Starts) -> None:
    url, together = RUN if protocol == "memory" else tmp_path.as_uri(), threading.Barrier(6)

    class Slow(Store):
        def create(self, name: str, content: bytes) -> bool:
            if json.loads(content)["writer"] not in created:  # all have seen that nobody has it
                created.add(json.loads(content)["writer"])
                together.wait(10)
            return super().create(name, content)

    created = set[str]()

    def attempt(number: int) -> str:
        try:
            start(Slow(url), number).check()
        except FrameworkError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(6) as pool:
        told = sorted(pool.map(attempt, range(6)))
    # On a disk another process may look between the making of the lock and its content.
    refused = (
        rf"{url}: locked by (process \d+ on .* UTC\)|another process)\. Wait for it to finish or set another run_dir"
    )
    assert told[0] == ""
    assert [each for each in told[1:] if not re.fullmatch(refused, each)] == []
    assert names(Store(url)) == [".store.1.lock"]


def test_a_holder_that_gives_signs_of_life_keeps_the_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: Any, start: Starts
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    held = start(Store(RUN), 1)
    with pytest.raises(FrameworkError, match=r"locked by process \d+ on \S+ \(since \d{4}-\d\d-\d\d \d\d:\d\d UTC\)"):
        start(Store(RUN), 2)
    assert "may still be running: waiting up to 0.05 s to find out" in capsys.readouterr().err
    held.check()
    assert alive(Store(RUN), start.note(2)).startswith("process ")
    assert alive(Store(RUN), start.note(1)) == ""
    held.release()
    assert alive(Store(RUN), start.note(2)) == ""
    assert start(Store(RUN), 2)
    assert capsys.readouterr().err == ""


def test_of_two_starts_the_later_one_does_not_begin_when_the_first_ends(
    monkeypatch: pytest.MonkeyPatch, start: Starts
) -> None:
    """It would replace what the first has done by a run with its own settings, which a folder refuses at once."""
    monkeypatch.setattr(lease, "DEAD_AFTER_SECONDS", 5)
    held = start(Store(RUN), 1)
    threading.Timer(0.1, held.release).start()
    with pytest.raises(FrameworkError, match=r"process \d+ on \S+ worked there until a moment ago\nStart again"):
        start(Store(RUN), 2)
    start(Store(RUN), 2).check()


def test_a_killed_holder_blocks_for_a_while_only_and_learns_of_it_if_it_was_only_suspended(start: Starts) -> None:
    suspended = start(Store(RUN), 1)
    for waits in (True, False):  # the second of these starts is on the machine of the first
        began = time.monotonic()
        following = start(Store(RUN), 2)
        assert (time.monotonic() - began > lease.DEAD_AFTER_SECONDS) is waits
        with pytest.raises(TakenError, match=r"process \d+ on .* works there now"):
            suspended.check()
        suspended.release()  # of what it no longer has
        following.check()
        suspended = following
    assert names(Store(RUN)) == [".store.3.lock"]


def test_clocks_that_differ_do_not_make_a_holder_dead(monkeypatch: pytest.MonkeyPatch, start: Starts) -> None:
    store, clock = Store(RUN), time.time
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.01)
    start(store, 1)
    monkeypatch.setattr(time, "time", lambda: clock() + CLOCK_SKEW_SECONDS / 2)
    with pytest.raises(FrameworkError, match="locked by"):
        start(store, 2)


def test_who_looked_before_others_took_and_left_the_folder_does_not_get_it_beside_the_next(
    start: Starts,
) -> None:
    store, others = Store(RUN), list[Lease]()

    class Late(Store):
        def create(self, name: str, content: bytes) -> bool:
            if not others:  # what happens between its look and its write
                start(store, 2).release()
                others.append(start(store, 3))
            return super().create(name, content)

    with pytest.raises(FrameworkError, match="locked by"):
        start(Late(RUN), 1)
    others[0].check()
    assert names(store) == [".store.2.lock"]


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSYS, "A header implies functionality"), TypeError("mode")])
def test_a_store_without_conditions_says_so_in_a_line_and_the_later_writer_has_it(
    capsys: Any, start: Starts, error: Exception | None
) -> None:
    class Old(MemoryFileSystem):
        protocol = "old"

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **_: Any) -> None:
            if mode == "create" and error:
                raise error
            super().pipe_file(path, value)

    fsspec.register_implementation("old", Old, clobber=True)
    store = Store(RUN.replace("memory", "old"))
    one = start(store, 1)
    assert capsys.readouterr().err == (
        f"{store.url}: this store cannot refuse a second writer (it has no conditional writes), so do not start a run "
        "twice at the same moment\n"
    )
    store.write(".store.1.lock", json.dumps({"holder": "x", "writer": "2", "since": 0, "written": 0}).encode())
    with pytest.raises(TakenError, match="x works there now"):
        one.check()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"holder": 1}', b"\xff", b'{"since": 1e300}'])
def test_a_lock_that_no_run_wrote_is_watched_and_then_taken_over(content: bytes, start: Starts) -> None:
    store = Store(RUN)
    store.write(".store.7.lock", content)
    assert newest(store) == (7, Lock("another process"))
    start(store, 1).check()
    assert names(store) == [".store.8.lock"]


def test_an_answer_that_was_lost_is_no_lock_of_another(start: Starts) -> None:
    lost: list[Callable[..., None]] = []

    class Losing(MemoryFileSystem):
        protocol = "losing"

        def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
            super().pipe_file(path, value, mode=mode, **more)
            if not lost:
                lost.append(super().pipe_file)
                raise ConnectionError("the answer is lost")

    fsspec.register_implementation("losing", Losing, clobber=True)
    start(Store(RUN.replace("memory", "losing")), 1).check()
