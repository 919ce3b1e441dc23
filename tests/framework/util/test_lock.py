"""Locks that die with their process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
