"""What started is compared with what was asked for: accelerate starts less without a message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

from framework import FrameworkError
from framework.api.process_group import Engine, ProcessGroup
from framework_plugins.hf.load.sharded_weights import local_shard
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.settings.optimizers import AdamWTorchConfig
from framework_plugins.hf.train.distributed.engine import (
    accelerator_options,
    check_started,
    check_wrapped,
    join,
    reduce_in_fp32,
)
from framework_plugins.lib.group_member import Member

ALONE = Member(0, 1, 0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[None]:
    """Make this process a group of one."""
    distributed.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def four() -> Iterator[None]:
    """Make this process the third of four, of which the others do not exist."""
    distributed.init_process_group("fake", store=FakeStore(), rank=2, world_size=4)
    yield
    distributed.destroy_process_group()


def accelerator(kind: str = "MULTI_CPU", processes: int = 1, device: str = "cpu") -> Any:
    return SimpleNamespace(
        num_processes=processes,
        distributed_type=SimpleNamespace(value=kind),
        device=SimpleNamespace(type=device),
    )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("asked", "me", "processes", "came"),
    [(1, 2, 1, 2), (1, 1, 2, 2), (2, 2, 2, 1)],
    ids=["torchrun started more", "accelerate sees more", "fewer reach each other"],
)
def test_a_group_of_another_size_is_refused(asked: int, me: int, processes: int, came: int) -> None:
    told = f"^launch=ddp: {asked} processes were asked for, but {came} joined$"
    with pytest.raises(FrameworkError, match=told):
        check_started(accelerator(processes=processes), ProcessGroup(Engine.ddp, asked), Member(0, me, 0))


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(
    ("engine", "kind", "device", "told"),
    [
        (Engine.fsdp2, "MULTI_CPU", "cpu", "MULTI_CPU instead: on a CPU it has no other. Set launch=ddp"),
        (Engine.fsdp2, "MULTI_GPU", "cuda", "MULTI_GPU instead"),
        (Engine.ddp, "NO", "cpu", "NO instead"),
        (Engine.ddp, "FSDP", "cuda", "FSDP instead"),
    ],
)
def test_another_engine_is_refused(engine: Engine, kind: str, device: str, told: str) -> None:
    with pytest.raises(FrameworkError) as refused:
        check_started(accelerator(kind, device=device), ProcessGroup(engine, 1), ALONE)
    assert str(refused.value) == f"launch={engine.value}: accelerate started {told}"


def model() -> torch.nn.Sequential:
    """Return a frozen layer and one that is trained."""
    made = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False), torch.nn.Linear(4, 4, bias=False))
    made[0].requires_grad_(requires_grad=False)
    return made


def cut(*, first_left: bool = False) -> torch.nn.Module:
    made = model()
    left = set(made[0].parameters()) if first_left else set()
    fully_shard(made, mesh=init_device_mesh("cpu", (1,)), ignored_params=left)
    return made


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("engine", list(Engine))
def test_a_model_as_it_was_is_refused(engine: Engine) -> None:
    told = f"^launch={engine.value}: accelerate turned the model into a Sequential instead$"
    with pytest.raises(FrameworkError, match=told):
        check_wrapped(model(), ProcessGroup(engine, 1))


@pytest.mark.usefixtures("world")
def test_a_model_in_other_pieces_than_processes_is_refused() -> None:
    told = r"^launch=fsdp2: 2 of 2 weights are not cut into 2 pieces, the first is 0\.weight \(float32\)$"
    with pytest.raises(FrameworkError, match=told):
        check_wrapped(cut(), ProcessGroup(Engine.fsdp2, 2))


@pytest.mark.usefixtures("world")
def test_a_frozen_weight_that_is_whole_in_each_process_is_refused() -> None:
    told = r"^launch=fsdp2: 1 of 2 weights are not cut into 1 pieces, the first is 0\.weight \(float32\)$"
    with pytest.raises(FrameworkError, match=told):
        check_wrapped(cut(first_left=True), ProcessGroup(Engine.fsdp2, 1))


@pytest.mark.usefixtures("four")
def test_shards_lie_with_neighbours_and_their_replicas_with_the_others() -> None:
    group = ProcessGroup(Engine.fsdp2, 4, shard_size=2)
    machine = Hardware("cpu", torch.float32, checkpointing=False, optimizer=AdamWTorchConfig())
    sizes = accelerator_options(group, machine)["parallelism_config"]
    with pytest.warns(UserWarning, match="Slicing a flattened dim"):
        mesh = sizes.get_device_mesh("cpu")[tuple(sizes.fsdp_dim_names)]  # as accelerate does it
    assert mesh.mesh.tolist() == [[0, 1], [2, 3]]
    made = model()
    fully_shard(made, mesh=mesh)
    check_wrapped(made, group)
    assert {2 * local_shard(weight).numel() for weight in made.parameters()} == {16}
    with pytest.raises(FrameworkError, match=r"^launch=fsdp2: 2 of 2 weights are not cut into 4 pieces, the first is "):
        check_wrapped(made, ProcessGroup(Engine.fsdp2, 4))
    with pytest.raises(FrameworkError, match=r"are not cut into 2 pieces in 4 replicas, the first is 0\.weight"):
        check_wrapped(made, ProcessGroup(Engine.fsdp2, 8, shard_size=2))


def test_replicas_add_up_gradients_in_fp32() -> None:
    plugin = SimpleNamespace(mixed_precision_policy=MixedPrecisionPolicy(torch.bfloat16, torch.bfloat16))
    accelerator = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin))
    reduce_in_fp32(accelerator)
    assert plugin.mixed_precision_policy == MixedPrecisionPolicy(torch.bfloat16, torch.float32)
    plugin.mixed_precision_policy = None
    reduce_in_fp32(accelerator)
    assert plugin.mixed_precision_policy is None


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("offload", [False, True])
def test_fsdp_is_asked_for_what_the_run_asks_for(
    monkeypatch: pytest.MonkeyPatch, *, checkpointing: bool, offload: bool
) -> None:
    names = ("ACCELERATE_USE_FSDP", "FSDP_OFFLOAD_PARAMS")
    for name in names:
        monkeypatch.setenv(name, "")  # what is set is taken back
    machine = Hardware("cpu", torch.float32, checkpointing, AdamWTorchConfig())
    group = ProcessGroup(Engine.fsdp2, 2, cpu_offload=offload)
    join(group, machine, Member(2, 4, 2))
    options = accelerator_options(group, machine)
    assert options["fsdp_plugin"].activation_checkpointing is checkpointing
    assert isinstance(options["fsdp_plugin"].cpu_offload, CPUOffloadPolicy) is offload
    assert "parallelism_config" not in options
    assert [os.environ[name] for name in names] == (["true", "true"] if offload else ["", ""])
