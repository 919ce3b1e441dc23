"""`launch.on=ray` on a real cluster of this machine.

Ray is best in an environment of its own: `pip install -e '.[ray,test]'` there, and run this file with `pytest -m slow`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ending
from tests.support.program import environment, framework
from tests.support.sweeps import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
pytest.importorskip("ray")
WORDS = [*ending.WORDS, "launch.on=ray", "launch.ray.gpus=0", "run_dir=run"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder with a short name, since Ray has its sockets there."""
    place = Path("/tmp/ray-test")  # noqa: S108 - removed at the end
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    yield place
    shutil.rmtree(place, ignore_errors=True)


def test_a_run_that_is_lost_starts_again_and_its_report_comes_back(folder: Path, tmp_path: Path) -> None:
    place = prepare(tmp_path / "place")
    env = environment(tmp_path, RAY_TMPDIR=str(folder), RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="disabled")
    env.pop("RAY_ADDRESS", None)
    done = framework(*WORDS, "trainer.kills_once=true", cwd=place, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (place / "killed").exists()
    status = json.loads((place / "run" / "status.json").read_text(encoding="utf-8"))
    assert status["state"] == "finished"
    assert "was killed by signal 9" in done.stdout + done.stderr
    wrong = framework(*WORDS[:-1], "run_dir=other", "trainer.end=mistake", cwd=place, env=env)
    assert (wrong.returncode, "\nfirst line\nsecond line" in wrong.stderr) == (2, True), wrong.stderr
    large = framework(*WORDS[:-1], "run_dir=third", "launch.ray.cpus=4000", cwd=place, env=env)
    assert large.returncode == 2
    assert "the run needs a node with 4000 CPU, and the nodes have" in large.stderr
