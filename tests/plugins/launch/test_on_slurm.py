"""`launch.on=slurm` on a real Slurm; `tests/support/slurm.py` says what it needs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from framework.api import RunFolder, records
from framework.api.records import TrainResult
from tests.plugins.launch.test_hosts import Place, same
from tests.support import ending, group_plugin
from tests.support.hosts import two_hosts
from tests.support.program import framework
from tests.support.slurm import Slurm, started_slurm, wait
from tests.support.sweeps import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
WORDS = [*ending.WORDS, "launch.on=slurm", "launch.slurm.gpus=0", "trainer.end=never"]


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[Slurm]:
    """Return a cluster."""
    with started_slurm(tmp_path) as cluster:
        yield cluster


def number(done: subprocess.CompletedProcess[str]) -> str:
    found = re.match(r"Slurm job (\d+): ", done.stdout)
    assert found, done.stdout + done.stderr
    return found[1]


def state(run: Path) -> str:
    file = run / "status.json"
    return str(json.loads(file.read_text(encoding="utf-8"))["state"]) if file.exists() else ""


def test_a_job_is_submitted_saves_when_it_is_warned_and_continues(slurm: Slurm, tmp_path: Path) -> None:
    place = prepare(tmp_path / "place")
    done = framework(*WORDS, "run_dir=run", cwd=place, env=slurm.env)
    assert done.returncode == 0, done.stderr
    job = number(done)
    (output,) = (place / "outputs" / "slurm").glob(f"*/{job}_0_log.err")
    wait(lambda: state(place / "run") == "running")
    waiting = framework(*WORDS, "run_dir=other", cwd=place, env=slurm.env)  # the cluster is full
    assert "PENDING" in waiting.stdout, waiting.stdout + waiting.stderr
    slurm("scancel", number(waiting))
    slurm("scancel", "--signal=USR2", job)  # as Slurm does before the time limit
    wait(lambda: state(place / "run") == "interrupted")
    (place / "enough").touch()
    slurm.queue_now(job)
    wait(lambda: state(place / "run") == "finished")
    assert "Slurm has put job" not in output.read_text(encoding="utf-8")  # submitit did
    wait(lambda: "JobState=COMPLETED" in slurm.job(job))
    refused = framework(*WORDS, "launch.slurm.partition=nowhere", "run_dir=third", cwd=place, env=slurm.env)
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-2].startswith("Slurm refuses the job: ")
    long = framework(*WORDS, "launch.slurm.partition=short", "run_dir=third", cwd=place, env=slurm.env)
    assert (long.returncode, "the partition short allows 10 minutes" in long.stderr) == (2, True), long.stderr
    (place / "enough").unlink()
    canceled = framework(*WORDS, "run_dir=third", cwd=place, env=slurm.env)
    wait(lambda: state(place / "third") == "running")
    slurm("scancel", number(canceled))
    wait(lambda: state(place / "third") == "interrupted")


TWO = ["launch=ddp", "launch.processes=1", "launch.nodes=2", "trainer.gradient_accumulation_steps=4", "launch.on=slurm"]
"""A step has the same rows on two nodes with a process each as in one process."""


class Nodes:
    """Two machines of a cluster, and runs that are submitted to them."""

    def __init__(self, place: Place, slurm: Slurm) -> None:
        self.place = place
        self.slurm = slurm
        self.env = {**slurm.env, **place.variables, "OMP_NUM_THREADS": "1"}

    def submit(self, run: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Submit a run on both."""
        words = [sys.executable, "-m", "framework", *self.place.words(run, *TWO, *more)]
        return subprocess.run(
            [*self.slurm.hosts[0].network, *words], cwd=self.place.folder, env={**self.env, **variables},
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip

    def held(self, run: str) -> tuple[str, Path]:
        """Submit a run whose second process waits before a step; return its job, and the file that it waits for."""
        file = self.place.folder / f"{run}-go"
        job = number(self.submit(run, **{group_plugin.END: f"1:4:{file}"}))
        wait((self.place.folder / run / RunFolder.TRAINING_STATE / "step-00000002").exists)
        return job, file

    def output(self, job: str) -> str:
        """Return what was printed on both nodes, for messages."""
        files = sorted((self.place.folder / "outputs" / "slurm").glob(f"*/{job}_*_log.*"))
        return "".join(file.read_text(encoding="utf-8") for file in [*files, self.slurm.log])

    def ends_like(self, alone: dict[str, np.ndarray], run: str, job: str) -> None:
        """Wait for the end of a job, and compare what it has trained."""
        wait(lambda: bool(re.search("JobState=(COMPLETED|FAILED)", self.slurm.job(job))), 300)
        assert "JobState=COMPLETED" in self.slurm.job(job), self.output(job)
        same(alone, self.place.weights(run))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    folder = tmp_path_factory.mktemp("nodes")
    with two_hosts(folder) as hosts:
        if not hosts[0].network:
            pytest.skip("network namespaces are refused here: a node of Slurm has to be a machine")
        with started_slurm(folder, hosts) as slurm:
            yield Nodes(Place(folder), slurm)


@pytest.fixture(scope="module")
def alone(nodes: Nodes) -> dict[str, np.ndarray]:
    nodes.place.alone("alone")
    return nodes.place.weights("alone")


def test_two_nodes_train_as_one_process_does(nodes: Nodes, alone: dict[str, np.ndarray]) -> None:
    done = nodes.submit("two")
    job = number(done)
    assert f"/{job}_0_log.out, of the other nodes {job}_1_log.out …, and errors beside it" in done.stdout
    nodes.ends_like(alone, "two", job)


def test_two_nodes_that_are_warned_continue(nodes: Nodes, alone: dict[str, np.ndarray]) -> None:
    job, file = nodes.held("warned")
    nodes.slurm("scancel", "--signal=USR2", job)  # as Slurm does before the time limit
    file.touch()
    nodes.slurm.queue_now(job)
    nodes.ends_like(alone, "warned", job)
    assert records.load(TrainResult, nodes.place.folder / "warned" / "train.json").resumed >= 2


def test_a_node_that_dies_is_replaced(nodes: Nodes, alone: dict[str, np.ndarray]) -> None:
    job, file = nodes.held("died")
    nodes.slurm.hosts[1].kill()
    file.touch()
    wait(lambda: "JobState=PENDING" in nodes.slurm.job(job))
    nodes.slurm.start_node(nodes.slurm.hosts[1])
    nodes.slurm.queue_now(job)
    nodes.ends_like(alone, "died", job)
    assert records.load(TrainResult, nodes.place.folder / "died" / "train.json").resumed == 2
    left = {path.name for path in nodes.place.folder.iterdir()}
    assert not [name for name in left if re.match("(two|warned|died)_", name)], left
