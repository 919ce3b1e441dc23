"""Locks that die with their process."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framework.util import lock
from framework.util.errors import FrameworkError
from tests.support.program import environment

HOLDS = (
    "import sys; from pathlib import Path; from framework.util import lock; held = lock.acquire(Path(sys.argv[1])); "
    "print(bool(held), flush=True); sys.stdin.read(); held and lock.release(held)"
)


def started(file: Path) -> subprocess.Popen[str]:
    """Start a process that takes a lock, says so, and keeps it until its input ends."""
    command = [sys.executable, "-c", HOLDS, str(file)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment(file.parent), stdin=pipe, stdout=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    return process


def test_what_one_process_holds_no_other_can_take_and_the_file_tells_whose_it_is(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    assert lock.holder(file) == ""
    process = started(file)
    assert lock.acquire(file) is None
    assert lock.holder(file).startswith(f"process {process.pid} on ")
    process.communicate()
    assert not file.exists()
    held = lock.acquire(file)
    assert held is not None
    lock.release(held)
    assert not file.exists()


def test_a_process_that_is_killed_lets_go_of_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = started(file)
    process.kill()
    process.communicate()
    assert file.exists()
    assert lock.holder(file) == ""
    held = lock.acquire(file)
    assert held is not None
    lock.release(held)


def test_a_file_that_was_taken_away_meanwhile_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    held = lock.acquire(file)
    assert held is not None
    file.unlink()  # as by hand: the next one locks a file of its own
    again = lock.acquire(file)
    assert again is not None
    assert lock.holder(file) != ""
    lock.release(again)
    lock.release(held)


def test_a_folder_is_held_and_left_as_it_was(tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    with lock.folder(place, "go away"):
        told = f"^{place}: locked by process {os.getpid()} on .+\\. Wait for it to finish or go away$"
        with pytest.raises(FrameworkError, match=told), lock.folder(place, "go away"):
            pytest.fail("two hold the lock")
    assert list(tmp_path.iterdir()) == []


def held_elsewhere(folder: Path, machine: str = "another-start") -> Path:
    """Leave the lock of a machine with our name and our process number, whose locks are not seen here."""
    file = folder / lock.NAME
    file.write_text(f"process {os.getpid()} on {socket.gethostname()}\n{machine}\n", encoding="utf-8")
    return file


def test_a_machine_of_the_same_name_that_lives_is_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = held_elsewhere(tmp_path)
    before = file.read_text(encoding="utf-8")
    monkeypatch.setattr(lock, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lock, "POLL_SECONDS", 0.025)
    monkeypatch.setattr(lock, "DEAD_AFTER_SECONDS", 30.0)
    stop = threading.Event()
    beating = threading.Thread(target=lock._beat, args=(file, stop))  # noqa: SLF001 - the other machine
    beating.start()
    with pytest.raises(FrameworkError, match="locked by process"), lock.folder(tmp_path, "go away"):
        pytest.fail("two hold the lock")
    assert lock.holder(file).startswith(f"process {os.getpid()} on ")
    stop.set()
    beating.join()
    assert file.read_text(encoding="utf-8") == before


def test_a_machine_that_gives_no_sign_of_life_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = held_elsewhere(tmp_path)
    file.write_text("process 6 on \x1b[31mx\nanother-start\n", encoding="utf-8")
    monkeypatch.setattr(lock, "DEAD_AFTER_SECONDS", 0.1)
    with lock.folder(tmp_path, "go away"):
        assert "another-start" not in file.read_text(encoding="utf-8")
    assert "process 6 on ?[31mx may still be running: waiting up to 0.1 s" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_nobody_waits_for_a_lock_of_long_ago_or_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(held_elsewhere(tmp_path), (1e9, 1e9))
    with lock.folder(tmp_path, "go away"):
        pass
    held_elsewhere(tmp_path, lock.machine())  # a process of ours that was killed
    with lock.folder(tmp_path, "go away"):
        pass
    assert capsys.readouterr().err == ""


def test_a_lock_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = started(file)
    assert lock.acquire(file, seconds=0.05) is None
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(lock.acquire, file, seconds=60)
        process.communicate()
        held = waiting.result()
    assert held is not None
    lock.release(held)


def test_a_folder_of_somebody_else_in_a_shared_place_is_not_used(tmp_path: Path) -> None:
    mine, victim = tmp_path / "mine", tmp_path / "victim"
    assert lock.private_folder(mine) == mine
    assert mine.stat().st_mode & 0o777 == 0o700
    assert lock.private_folder(mine) == mine
    victim.mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(victim)
    (tmp_path / "file").touch(0o600)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for name in ("link", "file", "open"):
        with pytest.raises(FrameworkError, match=rf"{name} is not a folder that only you can use, mode 700: remove it"):
            lock.private_folder(tmp_path / name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_somebody_else_owns_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(FrameworkError, match="not a folder that only you can use"):
        lock.private_folder(tmp_path / "theirs")


def test_a_lock_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious", encoding="utf-8")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        lock.acquire(tmp_path / "lock")
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "precious"
