"""Two machines with two processes each, made of network namespaces, train as one process does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from framework.api import RunFolder, records
from framework.api.records import TrainResult
from tests.support import group_plugin, group_program
from tests.support.hosts import Host, two_hosts
from tests.support.tiny import chat_rows, tiny_llama

pytestmark = pytest.mark.slow
SECONDS = 600
"""How long a run may take, on a busy machine."""
CLOSE = 1e-5
"""How far trained weights may lie apart."""
ALONE, FOUR = "trainer.gradient_accumulation_steps=8", "trainer.gradient_accumulation_steps=2"
"""A step has the same rows in one process and in four."""


class Place:
    """A model, rows, and what runs with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("".join(json.dumps(row) + "\n" for row in chat_rows(24)), encoding="utf-8")
        tiny_llama(folder / "base")
        self.variables = {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "FRAMEWORK_CACHE": str(folder / "cache"),
            "HF_HUB_OFFLINE": "1", group_plugin.LATE: "1",
        }  # fmt: skip

    def words(self, run: str, *more: str) -> list[str]:
        """Return the overrides of a run."""
        return [
            "model=local", f"model.path={self.folder / 'base'}", "data=local_file", f"data.path={self.rows}",
            f"run_dir={self.folder / run}", f"plugins=[{group_plugin.__file__}]", "stages=[data,train,export]",
            "logger=[jsonl]", "audit=[]", "evaluator=[]", "exporter=[adapter]", "objective=eval_loss",
            "trainer.device=cpu", "trainer.dtype=fp32", "trainer.max_steps=6", "trainer.save_steps=2",
            "trainer.eval_steps=3", "trainer.warmup_steps=1", "trainer.learning_rate=0.001",
            "trainer.per_device_train_batch_size=1", *([] if "adapter=full" in more else ["adapter.r=4"]), *more,
        ]  # fmt: skip

    def alone(self, run: str, *more: str) -> None:
        """Run in one process."""
        words = [sys.executable, group_program.__file__, *self.words(run, ALONE, *more)]
        environment = {**os.environ, **self.variables, "OMP_NUM_THREADS": "1"}
        subprocess.run(words, check=True, env=environment, timeout=SECONDS, cwd=self.folder)

    def weights(self, run: str) -> dict[str, np.ndarray]:
        """Return what a run trained."""
        file = next((self.folder / run / "checkpoint").glob("*model.safetensors"))
        return {name: weight.float().numpy() for name, weight in load_file(file).items()}

    def steps(self, run: str) -> list[tuple[float, float]]:
        """Return the loss and the norm of the gradients of each step of a run."""
        lines = [
            json.loads(line) for line in (self.folder / run / "log.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        return [(line["loss"], line["grad_norm"]) for line in lines if line["event"] == "step"]

    def torchrun(self, hosts: tuple[Host, Host], *more: str, nodes: str = "2") -> list[str]:
        """Return how torchrun starts what follows, on either machine."""
        return [
            sys.executable, "-m", "torch.distributed.run", "--nnodes", nodes, "--nproc-per-node", "2",
            "--rdzv-backend", "c10d", "--rdzv-id", "job", "--rdzv-endpoint", f"{hosts[0].name}:29400", *more,
            group_program.__file__,
        ]  # fmt: skip

    def start(self, host: Host, words: list[str], log: str = "", **variables: str) -> subprocess.Popen[bytes]:
        """Start a command on a machine."""
        return host.start(words, self.log(host, log), **self.variables, **variables)

    def log(self, host: Host, name: str = "") -> Path:
        """Return the file of what is printed on a machine."""
        return self.folder / f"{host.address}{name}.log"

    def both(self, hosts: tuple[Host, Host], run: str, *more: str, log: str = "") -> list[int]:
        """Run on both machines, and return their exit codes."""
        words = [*self.torchrun(hosts), *self.words(run, FOUR, *more)]
        return [each.wait(SECONDS) for each in [self.start(host, words, log or run) for host in hosts]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("hosts"))


@pytest.fixture
def hosts(place: Place) -> Iterator[tuple[Host, Host]]:
    with two_hosts(place.folder) as made:
        yield made


def same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    for name, weight in one.items():
        np.testing.assert_allclose(weight, two[name], atol=CLOSE, rtol=0, err_msg=name)


@pytest.fixture(scope="module")
def alone(place: Place) -> Callable[..., str]:
    """Return a function that runs in one process, if it has not yet, and returns the name of the run."""

    def run(*more: str) -> str:
        name = f"alone-{len(more)}"
        if not (place.folder / name).exists():
            place.alone(name, *more)
        return name

    return run


LORA, QLORA, FULL = (), ("quantization=nf4",), ("adapter=full", "exporter=[]")
HYBRID = ("launch=fsdp2", "launch.dp_shard_size=2")
"""Shards within a machine, and replicas of them on the other one."""


@pytest.mark.parametrize(
    ("launch", "more"),
    [
        (("launch=ddp",), LORA),
        (("launch=fsdp2",), QLORA),
        (("launch=fsdp2",), FULL),
        (HYBRID, LORA),
        (HYBRID, QLORA),
        (HYBRID, FULL),
    ],
    ids=["LoRA", "QLoRA", "full", "HSDP-LoRA", "HSDP-QLoRA", "HSDP-full"],
)
def test_four_processes_on_two_machines_are_one_training(
    place: Place, hosts: tuple[Host, Host], launch: tuple[str, ...], more: tuple[str, ...], alone: Callable[..., str]
) -> None:
    name, one = f"{len(launch)}-{len(more)}", alone(*more)
    assert place.both(hosts, name, *launch, *more) == [0, 0], place.log(hosts[0], name).read_text()
    same(place.weights(one), place.weights(name))
    np.testing.assert_allclose(place.steps(one), place.steps(name), rtol=1e-4)
    assert (place.folder / name / "export.json").exists()


@pytest.fixture(scope="module")
def lora(place: Place, alone: Callable[..., str]) -> dict[str, np.ndarray]:
    return place.weights(alone())


STOPPED = {group_plugin.END: f"3:4:{int(signal.SIGSTOP)}"}
"""The last process stops before its fourth step, and the others wait for it."""


def until(seen: Callable[[], bool], *processes: subprocess.Popen[bytes]) -> None:
    """Wait until something is seen; not if the processes end before."""
    end = time.monotonic() + SECONDS
    while not seen():
        assert time.monotonic() < end
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


@pytest.mark.parametrize("stage", ["data", "train", "export"])
def test_a_machine_that_dies_in_a_stage_and_is_started_again_ends_the_same(
    place: Place, hosts: tuple[Host, Host], stage: str, lora: dict[str, np.ndarray]
) -> None:
    """In the training the second machine dies, else the first, whose process is the run."""
    run, dies = place.folder / f"killed-{stage}", hosts[stage == "train"]
    words = [*place.torchrun(hosts), *place.words(run.name, FOUR, "launch=ddp")]
    begun = [place.start(host, words, run.name, **(STOPPED if stage == "train" else {})) for host in hosts]
    signs = {
        "data": run / ".lock",
        "train": run / RunFolder.TRAINING_STATE / "step-00000002",
        "export": run / "train.json",
    }
    until(signs[stage].exists, *begun)
    dies.kill()
    other = begun[stage != "train"]
    assert other.wait(SECONDS) != 0 or stage == "export"
    if stage == "train":
        assert "another process of the group is gone (" in place.log(hosts[0], run.name).read_text(encoding="utf-8")
    assert place.both(hosts, run.name, "launch=ddp", log=f"{run.name}-again") == [0, 0]
    same(lora, place.weights(run.name))
    result = records.load(TrainResult, run / "train.json")
    assert stage != "train" or result.resumed == 2


@pytest.mark.parametrize("launch", [("launch=ddp",), HYBRID], ids=["ddp", "HSDP"])
def test_torchrun_continues_with_the_machine_that_is_left(
    place: Place, hosts: tuple[Host, Host], lora: dict[str, np.ndarray], launch: tuple[str, ...]
) -> None:
    run = place.folder / f"elastic-{len(launch)}"
    words = [*place.torchrun(hosts, "--max-restarts", "3", nodes="1:2"), *place.words(run.name, FOUR, *launch)]
    variables = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", **STOPPED}
    first, _ = [place.start(host, words, run.name, **variables) for host in hosts]
    until((run / RunFolder.TRAINING_STATE / "step-00000002").exists, first)
    hosts[1].kill()
    assert first.wait(SECONDS) == 0
    assert "2 processes continue what 4 began: trainer.gradient_accumulation_steps=4 keeps the 8 rows" in place.log(
        hosts[0], run.name
    ).read_text(encoding="utf-8")
    same(lora, place.weights(run.name))


def test_machines_without_torchrun_meet_and_what_differs_is_named(
    place: Place, hosts: tuple[Host, Host], lora: dict[str, np.ndarray]
) -> None:
    program = [sys.executable, "-m", "framework"]
    given = (FOUR, "launch=ddp", "launch.processes=2", "launch.nodes=2", f"launch.rendezvous={hosts[0].address}:29401")
    words = [*program, *place.words("by-hand", *given)]
    assert [each.wait(SECONDS) for each in [place.start(host, words, "by-hand") for host in hosts]] == [0, 0]
    same(lora, place.weights("by-hand"))
    other = [*program, *place.words("other", *given)]
    begun = [place.start(hosts[0], other, "other"), place.start(hosts[1], [*other, "seed=7"], "other")]
    assert [each.wait(SECONDS) != 0 for each in begun] == [True, True]
    assert begun[0].returncode == 2
    told = place.log(hosts[0], "other").read_text(encoding="utf-8")
    assert "has seed=7, and process 0 on" in told
    assert "Traceback" not in told
    ended = "that machine has ended the run", "process 0 has ended with an error"
    assert any(text in place.log(hosts[1], "other").read_text(encoding="utf-8") for text in ended)
    assert not (place.folder / "other").exists()


def test_a_machine_that_nobody_joins_ends_with_a_message(place: Place, hosts: tuple[Host, Host]) -> None:
    given = ("launch=ddp", "launch.processes=1", "launch.nodes=2", f"launch.rendezvous={hosts[0].address}:29402")
    words = [sys.executable, "-m", "framework", *place.words("nobody", *given, "launch.wait_seconds=5")]
    begun = place.start(hosts[0], words, "nobody")
    assert begun.wait(SECONDS) == 2
    told = place.log(hosts[0], "nobody").read_text(encoding="utf-8")
    assert "fewer than 2 machines came within launch.wait_seconds=5, or the port is in use on this one" in told
    assert "Traceback" not in told
