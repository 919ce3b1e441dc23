"""`launch.on=ray` on a real cluster of this machine.

Ray is best in an environment of its own: `make test-ray` makes it and runs this file there.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from framework.api import records
from framework.api.records import TrainResult
from framework.api.run_folder import TRAINING_STATE
from tests.plugins.launch.test_hosts import Place, same, until
from tests.support import ending, group_plugin
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


def variables(folder: Path, home: Path) -> dict[str, str]:
    own = {"RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    return {name: value for name, value in environment(home, **own).items() if name != "RAY_ADDRESS"}


def test_a_run_that_is_lost_starts_again_and_its_report_comes_back(folder: Path, tmp_path: Path) -> None:
    place, env = prepare(tmp_path / "place"), variables(folder, tmp_path)
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


def test_a_training_whose_processes_are_lost_ends_with_the_weights_of_one_process(folder: Path, tmp_path: Path) -> None:
    place, go = Place(tmp_path), tmp_path / "go"
    more = ["launch=ddp", "launch.processes=2", "launch.on=ray", "trainer.gradient_accumulation_steps=4"]
    held = {group_plugin.END: f"1:4:{go}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "framework", *place.words("ray", *more)], cwd=tmp_path,
        env={**variables(folder, tmp_path), **place.variables, **held},
    ) as begun:  # fmt: skip
        until((tmp_path / "ray" / TRAINING_STATE / "step-00000002").exists, begun)
        for process in psutil.process_iter(["cmdline"]):
            if "framework_plugins.launch.job" in (process.info["cmdline"] or ()) and str(tmp_path) == process.cwd():
                process.kill()
        go.touch()
    assert begun.returncode == 0
    assert records.load(TrainResult, tmp_path / "ray" / "train.json").resumed == 2
    assert '"event": "step"' in (tmp_path / "ray" / "log.jsonl").read_text(encoding="utf-8")
    place.alone("alone")
    same(place.weights("alone"), place.weights("ray"))
