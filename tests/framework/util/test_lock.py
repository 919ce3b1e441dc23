"""Locks that die with their process."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from framework import FrameworkError
from framework.util import lock
from tests.support.program import environment

HOLDS = (
    "import sys; from pathlib import Path; from framework.util import lock; held = lock.take(Path(sys.argv[1])); "
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
    assert lock.take(file) is None
    assert lock.holder(file).startswith(f"process {process.pid} on ")
    process.communicate()
    assert not file.exists()
    held = lock.take(file)
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
    held = lock.take(file)
    assert held is not None
    lock.release(held)


def test_a_file_that_was_taken_away_meanwhile_is_not_held(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    held = lock.take(file)
    assert held is not None
    file.unlink()  # as by hand: the next one locks a file of its own
    again = lock.take(file)
    assert again is not None
    assert lock.holder(file) != ""
    lock.release(again)
    lock.release(held)


def test_a_lock_is_waited_for_but_not_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    process = started(file)
    assert lock.take(file, seconds=0.05) is None
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(lock.take, file, seconds=60)
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
        with pytest.raises(FrameworkError, match=rf"{name} is not a folder of this user alone, mode 700: remove it"):
            lock.private_folder(tmp_path / name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_that_somebody_else_owns_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", 12345, 12345)
    with pytest.raises(FrameworkError, match="not a folder of this user alone"):
        lock.private_folder(tmp_path / "theirs")


def test_a_lock_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious", encoding="utf-8")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"):
        lock.take(tmp_path / "lock")
    assert (tmp_path / "victim").read_text(encoding="utf-8") == "precious"
