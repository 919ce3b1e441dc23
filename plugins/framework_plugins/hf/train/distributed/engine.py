"""Set up a group of processes with accelerate, check it, and agree on values."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from framework.api.errors import FrameworkError
from framework.api.process_group import Engine, Member, ProcessGroup, member
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.train.trainer import checkpointing_name

T = TypeVar("T")


def arguments(group: ProcessGroup, machine: Hardware) -> dict[str, Any]:
    """Return what the trainer's arguments say of a group."""
    if group.engine is Engine.ddp:
        return {"ddp_find_unused_parameters": False}
    if group.cpu_offload:  # accelerate asks here whether the processes have to reach each other from the CPU too
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}
    settings = {
        "version": 2,
        "reshard_after_forward": True,
        "cpu_offload": group.cpu_offload,
        "cpu_ram_efficient_loading": os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING") == "true",
        # The trainer's own checkpointing would gather each layer's weights once more in the backward pass.
        "activation_checkpointing": machine.checkpointing,
    }
    return {"fsdp": True, "fsdp_config": settings, checkpointing_name(): False}


def load_in_pieces(group: ProcessGroup, machine: Hardware, quantization: Any) -> str:
    """Return where a process loads weights that are cut into pieces afterwards: whole, they need not fit on a GPU.

    The first process reads them into the CPU's memory and the others get their pieces from it. It is transformers and
    accelerate that do it, told by the environment, once the processes reach each other.
    What is quantized each reads for itself: its weights are more than their numbers. Four bits are stored in bytes by
    themselves, and accelerate leaves bytes whole in each process, since FSDP cuts tensors of floats. So they are stored
    in numbers of the dtype that is computed in: FSDP would cast another to it when it puts a layer together, and the
    bits would be lost.
    """
    me = member()
    if getattr(quantization, "load_in_4bit", False):
        quantization.bnb_4bit_quant_storage = machine.dtype
    if quantization is not None or group.engine is not Engine.fsdp2 or me is None:
        return "cpu"
    os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_CPU_RAM_EFFICIENT_LOADING": "true"}
    os.environ["FSDP_OFFLOAD_PARAMS"] = str(group.cpu_offload).lower()
    PartialState(cpu=machine.device == "cpu")
    return "cpu" if me.local_rank == 0 else "meta"


KINDS = {Engine.ddp: ("MULTI_GPU", "MULTI_CPU"), Engine.fsdp2: ("FSDP",)}
"""What accelerate calls an engine."""


def check_started(accelerator: Any, group: ProcessGroup, me: Member) -> None:
    """Look whether what came up is what was asked for: accelerate starts less without a word.

    Raises:
        FrameworkError: it is not.
    """
    worlds = {me.world, accelerator.num_processes, distributed.get_world_size()}
    if others := worlds - {group.processes}:
        raise FrameworkError(
            f"launch={group.engine.value}: {group.processes} processes were asked for, but {min(others)} joined"
        )
    kind = accelerator.distributed_type.value
    if kind not in KINDS[group.engine]:
        on_cpu = accelerator.device.type == "cpu" and group.engine is not Engine.ddp
        why = ": on a CPU it has no other. Set launch=ddp" if on_cpu else ""
        raise FrameworkError(f"launch={group.engine.value}: accelerate started {kind} instead{why}")


def check_wrapped(wrapped: Any, group: ProcessGroup) -> None:
    """Look whether the model is what the engine makes of one.

    Raises:
        FrameworkError: it is not.
    """
    kinds: dict[Engine, Any] = {Engine.ddp: DistributedDataParallel, Engine.fsdp2: FSDPModule}
    if not isinstance(wrapped, kinds[group.engine]):
        raise FrameworkError(
            f"launch={group.engine.value}: accelerate turned the model into a {type(wrapped).__name__} instead"
        )
    if group.engine is Engine.fsdp2:
        _check_pieces(wrapped, group)


def _check_pieces(model: torch.nn.Module, group: ProcessGroup) -> None:
    """Look whether all weights, also those that are frozen, lie in as many pieces as there are processes."""
    weights = list(model.named_parameters())
    uncut = [(name, weight) for name, weight in weights if not _is_cut(weight, group.processes)]
    if uncut:
        name, weight = uncut[0]
        raise FrameworkError(
            f"launch={group.engine.value}: {len(uncut)} of {len(weights)} weights are not cut into {group.processes} "
            f"pieces, the first is {name} ({str(weight.dtype).removeprefix('torch.')})"
        )


def _is_cut(weight: Any, world: int) -> bool:
    return (
        isinstance(weight, DTensor)
        and weight.device_mesh.size() == world
        and any(placement.is_shard() for placement in weight.placements)
    )


def agreed(me: Member, decide: Callable[[], T]) -> T:
    """Return what the first process decides, in all of them."""
    objects = [decide() if me.rank == 0 else None]
    distributed.broadcast_object_list(objects, src=0)
    decision: Any = objects[0]
    return decision  # type: ignore[no-any-return] # an object that was pickled


def most(number: int, device: str) -> int:
    """Return the largest number that a process has."""
    return int(_reduced(torch.tensor(number, device=device), distributed.ReduceOp.MAX).item())


def added(number: float, device: str) -> float:
    """Return the sum of what the processes have."""
    return float(_reduced(torch.tensor(number, dtype=torch.float64, device=device), distributed.ReduceOp.SUM).item())


def _reduced(value: torch.Tensor, how: Any) -> torch.Tensor:
    distributed.all_reduce(value, op=how)
    return value
