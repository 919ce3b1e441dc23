"""Errors in the settings of a group are reported before anything is loaded."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from framework import FrameworkError, testing
from framework.api.plan import Plan
from framework.api.process_group import Engine, Evaluation, ProcessGroup
from framework.api.protocols import Launcher
from framework.plan.load import load_config
from framework.plan.make import make_plan
from framework.testing import compose
from framework.util import gpus
from framework_plugins.launch.config import GroupConfig
from framework_plugins.lib.group_member import Member, member

CPU = ("trainer.device=cpu", "launch.processes=2")


def planned(*words: str, run_dir: Path = Path("run")) -> Plan:
    return make_plan(compose(["logger=[]", *words]), run_dir=run_dir, overrides=words)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_are_planned(engine: str) -> None:
    plan = planned(f"launch={engine}", *(CPU if engine == "ddp" else ("launch.processes=2", "plan.gpu=24GiB")))
    config: GroupConfig = plan.launch.config
    expected = ProcessGroup(Engine(engine), 2)
    if engine == "fsdp2":
        expected = replace(expected, evaluation=Evaluation.auto, on_each_machine=2)
    assert config.group() == expected
    assert config.group().sharded == (engine == "fsdp2")
    assert plan.batch == 2 * planned().batch


@pytest.mark.parametrize(("size", "made"), [("null", (16, 1)), ("8", (8, 2)), ("16", (16, 1))])
def test_shards_over_fewer_processes_have_replicas(size: str, made: tuple[int, int]) -> None:
    words = ("launch=fsdp2", "launch.processes=8", "launch.nodes=2", "plan.gpu=24GiB", "stages=[plan]")
    group = planned(*words, f"launch.dp_shard_size={size}").launch.config.group()
    assert (group.shards, group.replicas, group.processes) == (*made, 16)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("launch=ddp",), "launch=ddp starts one process for each GPU, and none is visible: set launch=single, or "),
        (("launch=ddp", "trainer.device=cpu"), "launch.processes has to be given with trainer.device=cpu"),
        (("launch=ddp", "plan.gpu=24GiB"), "launch.processes has to be given with plan.gpu=24GiB: launch.processes=8"),
        (
            ("launch=ddp", *CPU, "trainer.early_stopping_metric=exact_match", "trainer.early_stopping_patience=2"),
            "trainer.early_stopping_metric=exact_match needs answers to prompts during the training, which ",
        ),
        (("launch=fsdp2", *CPU, "optimizer=adamw_8bit"), "optimizer=adamw_8bit cannot be cut into pieces by "),
        (("launch=fsdp2", *CPU, "quantization=int8"), "quantization=int8 cannot be cut into pieces by launch=fsdp2"),
        (("launch=fsdp2", *CPU), "launch=fsdp2: accelerate starts no FSDP on a CPU: set launch=ddp"),
        (
            ("launch=fsdp2", "launch.processes=8", "plan.gpu=24GiB", "launch.dp_shard_size=3"),
            "launch.dp_shard_size=3 does not divide the number of processes, 8: set launch.dp_shard_size=2|4, or le",
        ),
        (
            ("launch=fsdp2", "launch.processes=1", "plan.gpu=24GiB", "launch.dp_shard_size=2"),
            "launch.dp_shard_size=2 does not divide the number of processes, 1: leave it out to shard over all of them",
        ),
        (
            ("launch=fsdp2", *CPU, "launch.dp_shard_size=1"),
            "launch.dp_shard_size=1 must be a whole number of at least 2",
        ),
        (
            ("launch=fsdp2", "launch.processes=1", "launch.evaluation=split", "plan.gpu=24GiB"),
            "launch.evaluation=split divides the layers over the GPUs of this machine, and here is one process: set ",
        ),
    ],
)
def test_what_cannot_come_together_is_reported(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        planned(*words)
    assert told in str(refused.value)


def test_more_processes_than_gpus_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert gpus.Gpu.count() == 2
    told = r"launch\.processes=3: 2 GPUs are visible on this machine, .*: set launch\.processes=2, or "
    with pytest.raises(FrameworkError, match=told):
        planned("launch=ddp", "launch.processes=3")
    assert planned("launch=ddp").launch.config.group().processes == 2
    assert planned("launch=ddp", "launch.processes=8", "plan.gpu=24GiB", "stages=[plan]").batch == 8 * planned().batch


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("launch=deepspeed_zero3", "deepspeed_zero3"),
        ("launch.machines=2", "machines"),
    ],
)
def test_what_is_for_several_machines_is_refused_with_what_there_is(word: str, told: str) -> None:
    with pytest.raises(FrameworkError, match=told):
        load_config(["launch=ddp", *CPU, word])


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "job-master-0", "PET_NNODES": "1"}, ""),  # a PyTorchJob of one
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}, ""),
        (
            {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "a"},
            "has WORLD_SIZE=4: .* unset MASTER_ADDR RANK WORLD_SIZE. ",
        ),
        (
            {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"},
            "has LOCAL_RANK=0: .* unset LOCAL_RANK RANK WORLD_SIZE. ",
        ),
        ({"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "1"}, "OMPI_COMM_WORLD_SIZE=2: .*launch=ddp"),
        ({"WORLD_SIZE": "four"}, "has WORLD_SIZE=four"),
    ],
)
@pytest.mark.parametrize("launch", [(), ("launch=ddp", *CPU)])
def test_a_process_of_a_group_that_somebody_else_starts_is_refused(
    variables: dict[str, str], told: str, launch: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FrameworkError, match=told) if told else nullcontext():
        planned(*launch)


OUTER = {
    "RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "a",
    "MASTER_PORT": "1",
}
ONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
GIVEN = ("launch=ddp", "trainer.device=cpu")
HYBRID = ("launch=fsdp2", "launch.dp_shard_size=2")


@pytest.mark.parametrize(
    ("words", "variables", "told"),
    [
        (("launch=ddp", "trainer.device=cpu"), {}, ""),
        ((*GIVEN, "launch.nodes=2", "launch.processes=2"), {}, ""),
        ((*GIVEN, "launch.processes=2"), {}, ""),
        ((*GIVEN, "launch.processes=4"), {}, "ask for 8 processes, and torchrun has started 4: make them equal"),
        ((*GIVEN, "launch.nodes=3", "launch.processes=2"), {}, "ask for 6 processes, and torchrun has started 4"),
        (
            GIVEN,
            ONE,
            "started a group of one process: set its --np",
        ),
        ((*GIVEN, "launch.processes=1"), ONE, ""),
        (
            (*GIVEN, "run_dir=null"),
            {},
            "run_dir has to be given if torchrun starts the processes: set run_dir",
        ),
        ((), {}, "has LOCAL_RANK=1, WORLD_SIZE=4: .* To train in the group: launch=ddp or launch=fsdp2"),
        (HYBRID, {}, ""),
        (HYBRID, {"WORLD_SIZE": "3"}, "does not divide the number of processes, 3"),
    ],
)
def test_a_process_that_torchrun_starts_takes_its_place_in_the_group(
    words: tuple[str, ...], variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {**OUTER, **variables}.items():
        monkeypatch.setenv(name, value)
    words = (f"run_dir={tmp_path / 'run'}", "logger=[]", *words)
    with pytest.raises(FrameworkError, match=told) if told else nullcontext():
        plan = make_plan(compose(words), overrides=words)
        group = plan.launch.config.group()
        assert group.processes == int(os.environ["WORLD_SIZE"])
        assert plan.launch.config.writes() == (os.environ["RANK"] == "0")


def test_a_gpu_that_a_process_of_the_group_lacks_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {**OUTER, "CUDA_VISIBLE_DEVICES": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FrameworkError, match=r"LOCAL_RANK=1, and this machine has 1 visible GPU: set torchrun's --np"):
        make_plan(compose([f"run_dir={tmp_path}/run", "launch=ddp"]))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("launch.nodes=2",),
            "launch.rendezvous=null does not say where 2 machines meet: set launch",
        ),
        (("launch.nodes=2", "launch.rendezvous=a"), "launch.rendezvous=a does not say"),
        (("launch.nodes=2", "launch.rendezvous=a:70000"), "launch.rendezvous=a:70000 does not say"),
        (
            ("launch.nodes=2", "launch.rendezvous=a:1", "run_dir=null"),
            "launch.nodes=2: set run_dir=FOLDER on a",
        ),
        (("launch.rendezvous=a:1",), "launch.rendezvous is where several machines meet: set launch.nodes=2 as well"),
        (
            ("launch.nodes=2", "launch.rendezvous=a:1", "launch.on=ray"),
            "launch.on=ray chooses the machines and where they meet: leave launch.rendezvous out",
        ),
        (
            ("launch.nodes=2", "launch.on=ray", "stages=[evaluate]"),
            "launch.nodes=2: machines train together, and stages has no train: set launch.nodes=1",
        ),
        (("launch.nodes=2", "launch.rendezvous=a:1"), ""),
    ],
)
def test_what_several_machines_need_is_asked_for(words: tuple[str, ...], told: str, tmp_path: Path) -> None:
    words = (f"run_dir={tmp_path / 'run'}", "logger=[]", "launch=ddp", *CPU, *words)
    with pytest.raises(FrameworkError, match=told) if told else nullcontext():
        plan = make_plan(compose(words), overrides=words)
        assert plan.launch.config.group().processes == 4
        assert not plan.launch.config.writes()


@pytest.mark.parametrize("where", ["slurm", "ray"])
def test_a_node_of_a_cluster_has_a_gpu_for_each_process(where: str, tmp_path: Path) -> None:
    words = [f"run_dir={tmp_path / 'run'}", "logger=[]", "launch=ddp", "launch.processes=4", f"launch.on={where}"]
    with pytest.raises(FrameworkError, match=rf"launch.{where}.gpus=2: a node has launch.processes=4, and each takes"):
        make_plan(compose([*words, f"launch.{where}.gpus=2"]))
    make_plan(compose([*words, f"launch.{where}.gpus=0"]))  # other options may ask for them


def test_a_trainer_that_works_alone_is_refused_before_anything_is_written(data_file: Path, tmp_path: Path) -> None:
    words = ["data=local_file", f"data.path={data_file}", "launch=ddp", "launch.processes=2"]
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        plan = testing.plan(words, run_dir=tmp_path / "run")
        launcher: Launcher = plan.launch.create()
        with pytest.raises(
            FrameworkError, match=r"^launch=ddp: trainer=echo trains in one process only: set launch=sing"
        ):
            launcher.launch(plan)
    assert not (tmp_path / "run").exists()


def test_a_process_of_a_group_knows_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert member() is None
    for name, value in {"FRAMEWORK_WORKER": "1", "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert member() == Member(5, 8, 1)
    assert os.environ["RANK"] == "5"
