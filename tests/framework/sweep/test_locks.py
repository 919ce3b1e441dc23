"""One process holds a sweep, and one each of its trials."""

import subprocess
import sys
from pathlib import Path

import pytest

from framework.sweep import locks
from framework.util import lock
from framework.util.errors import FrameworkError
from tests.support.program import environment

WORKS = (
    "import sys; from pathlib import Path; from framework.sweep import locks\n"
    "with locks.trial(Path(sys.argv[1])):\n    print('locked', flush=True); sys.stdin.read()"
)


def test_a_sweep_that_another_process_is_at_work_on_is_refused(tmp_path: Path) -> None:
    held = lock.acquire(tmp_path / lock.NAME)
    assert held is not None
    with (
        pytest.raises(FrameworkError, match=r": locked by process \d+ on .+\. Wait for it to finish"),
        locks.sweep(tmp_path),
    ):
        pytest.fail("two hold the lock")
    lock.release(held)
    with locks.sweep(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_point_that_a_worker_goes_on_with_keeps_the_sweep_from_beginning_again(tmp_path: Path) -> None:
    run = tmp_path / "sweep" / "3"
    run.mkdir(parents=True)
    pipe = subprocess.PIPE
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKS, str(run)], env=environment(tmp_path), stdin=pipe, stdout=pipe, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "locked\n"
    told = f"^{run}: locked by process {worker.pid} on "
    with pytest.raises(FrameworkError, match=told), locks.sweep(run.parent):
        pytest.fail("two hold the lock")
    with pytest.raises(FrameworkError, match=told), locks.trial(run):
        pytest.fail("two hold the lock")
    worker.kill()
    worker.communicate()
    with locks.sweep(run.parent), locks.trial(run):
        pass
    assert list(run.iterdir()) == []


def test_folders_of_which_nothing_came_are_gone_at_the_end(tmp_path: Path) -> None:
    with locks.sweep(tmp_path / "a" / "b"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locks.sweep(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "0").mkdir()
    assert [path.name for path in tmp_path.glob("*/*/*")] == ["0"]
