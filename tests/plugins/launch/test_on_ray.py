"""`launch.on=ray` on a real cluster of this machine, and on one of two machines made of network namespaces.

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

from framework.api import RunFolder, records
from framework.api.records import Report, TrainResult
from framework_plugins.launch.on_ray import POINTER
from tests.plugins.launch.test_hosts import Place, same, until
from tests.support import ending, group_plugin
from tests.support.hosts import Host, two_hosts
from tests.support.program import environment, framework
from tests.support.sweeps import prepare

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest.importorskip("ray")
from ray.train import Result  # noqa: E402 - an extra

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


def test_a_training_that_loses_a_process_ends_with_the_weights_of_one_process(folder: Path, tmp_path: Path) -> None:
    place, go = Place(tmp_path), tmp_path / "go"
    more = ["launch=ddp", "launch.processes=2", "launch.on=ray", "trainer.gradient_accumulation_steps=4"]
    held = {group_plugin.END: f"1:4:{go}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "framework", *place.words("ray", *more)], cwd=tmp_path,
        env={**variables(folder, tmp_path), **place.variables, **held},
    ) as begun:  # fmt: skip
        until((tmp_path / "ray" / RunFolder.TRAINING_STATE / "step-00000002").exists, begun)
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if "framework_plugins.launch.worker" in words and any(str(tmp_path) in word for word in words):
                process.kill()
                break
        go.touch()
    assert begun.returncode == 0
    assert records.load(TrainResult, tmp_path / "ray" / "train.json").resumed == 2
    assert '"event": "step"' in (tmp_path / "ray" / "log.jsonl").read_text(encoding="utf-8")
    place.alone("alone")
    same(place.weights("alone"), place.weights("ray"))


class Cluster:
    """Two nodes of Ray, each on a machine of its own, and runs on both."""

    WORDS = ("launch=ddp", "launch.processes=1", "launch.nodes=2", "trainer.gradient_accumulation_steps=4",
             "launch.on=ray", "launch.ray.address=auto")  # fmt: skip
    """A step has the same rows on two nodes with a process each as in one process."""

    def __init__(self, place: Place, hosts: tuple[Host, Host], folder: Path) -> None:
        self.place = place
        self.hosts = hosts
        self.variables = variables(folder, place.folder)

    def start(self, host: Host) -> None:
        """Start a node, and wait until it is one."""
        head = f"{self.hosts[0].address}:6379"
        how = ["--head", "--port=6379"] if host is self.hosts[0] else [f"--address={head}"]
        words = [str(Path(sys.executable).with_name("ray")), "start", *how, f"--node-ip-address={host.address}"]
        log = self.place.log(host, "-ray")
        log.unlink(missing_ok=True)
        begun = self.place.start(host, [*words, "--num-cpus=1", "--block"], "-ray", **self.variables)
        until(lambda: "Ray runtime started" in log.read_text(encoding="utf-8"), begun)

    def run(self, run: str, *more: str, **named: str) -> subprocess.Popen[bytes]:
        """Start a run from the first machine, with words instead of those of the same key."""
        chosen = {word.partition("=")[0]: word for word in [*self.place.words(run), *self.WORDS, *more]}
        words = [sys.executable, "-m", "framework", *chosen.values()]
        own = {**self.variables, **self.place.variables, "RAY_ADDRESS": f"{self.hosts[0].address}:6379", **named}
        with self.log(run).open("wb") as log:  # Ray looks for the processes of its node
            return subprocess.Popen(
                [*self.hosts[0].network, *words], cwd=self.place.folder, env=own, stdout=log, stderr=log
            )

    def log(self, run: str) -> Path:
        """Return the file of what a run prints."""
        return self.place.folder / f"{run}.log"

    def ends_like(self, alone: str, run: str, begun: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a run, and compare what it has trained."""
        assert begun.wait(300) == 0, self.log(run).read_text(encoding="utf-8")
        same(self.place.weights(alone), self.place.weights(run))


@pytest.fixture
def cluster(folder: Path, tmp_path: Path) -> Iterator[Cluster]:
    with two_hosts(tmp_path) as hosts:
        if not hosts[0].network:
            pytest.skip("network namespaces are refused here: a node of Ray has to be a machine")
        made = Cluster(Place(tmp_path), hosts, folder)
        for host in hosts:
            made.start(host)
        yield made


# Of Ray 2.60, when it reads its own file.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
def test_two_nodes_train_as_one_process_does_and_a_node_that_dies_is_replaced(cluster: Cluster) -> None:
    place, many = cluster.place, cluster.run("many", "launch.nodes=3")
    assert many.wait(300) == 2
    assert "needs 3 nodes with 1 CPU each, and the nodes have 1 CPU; 1 CPU\nSet" in cluster.log("many").read_text(
        "utf-8"
    )
    place.alone("alone")
    cluster.ends_like("alone", "two", cluster.run("two", "stages=[data,baseline,train,evaluate,report]"))
    result = Result.from_path(place.folder / "outputs" / "ray" / "two")
    report = records.load(Report, place.folder / "two" / "report.json")
    assert result.metrics
    assert result.metrics["eval_loss"] == report.metrics["eval_loss"].after
    assert result.checkpoint
    kept = Path(result.checkpoint.path, POINTER).read_text(encoding="utf-8")
    assert json.loads(kept) == {"run_dir": str(place.folder / "two")}
    go = place.folder / "go"
    held = cluster.run("died", **{group_plugin.END: f"1:4:{go}"})
    until((place.folder / "died" / RunFolder.TRAINING_STATE / "step-00000002").exists, held)
    cluster.hosts[1].kill()
    go.touch()
    cluster.start(cluster.hosts[1])
    cluster.ends_like("alone", "died", held)
    assert records.load(TrainResult, place.folder / "died" / "train.json").resumed == 2
