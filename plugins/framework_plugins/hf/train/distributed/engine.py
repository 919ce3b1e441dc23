"""Set up a group of processes with accelerate, check it, and agree on values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import torch
from accelerate import ParallelismConfig
from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from framework import FrameworkError
from framework.api.training import Engine, ProcessGroup
from framework_plugins.hf.load.sharded_weights import join_group
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.lib.group_member import Member

T = TypeVar("T")


def join(group: ProcessGroup, machine: Hardware, me: Member) -> None:
    """Join a group."""
    if group.engine is Engine.fsdp2 and group.cpu_offload:  # accelerate asks here whether they reach each other's CPU
        os.environ |= {"ACCELERATE_USE_FSDP": "true", "FSDP_OFFLOAD_PARAMS": "true"}
    join_group(me, machine)


def accelerator_options(group: ProcessGroup, machine: Hardware) -> dict[str, Any]:
    """Return the arguments of accelerate for a group."""
    options: dict[str, Any] = {"kwargs_handlers": [DistributedDataParallelKwargs(find_unused_parameters=False)]}
    if group.engine is Engine.fsdp2:
        options["fsdp_plugin"] = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            reshard_after_forward=True,
            cpu_offload=group.cpu_offload,
            auto_wrap_policy="transformer_based_wrap",
            cpu_ram_efficient_loading=os.environ.get("FSDP_CPU_RAM_EFFICIENT_LOADING") == "true",
            state_dict_type="FULL_STATE_DICT",
            # The model's own checkpointing would gather each layer's weights once more in the backward pass.
            activation_checkpointing=machine.checkpointing,
        )
    if group.hybrid:
        options["parallelism_config"] = ParallelismConfig(dp_replicate_size=group.replicas, dp_shard_size=group.shards)
    return options


def reduce_in_fp32(accelerator: Any) -> None:
    """Reduce gradients in fp32: FSDP adds up those of several passes in that dtype before replicas reduce them."""
    plugin = accelerator.state.fsdp_plugin
    if plugin.mixed_precision_policy:
        plugin.mixed_precision_policy = replace(plugin.mixed_precision_policy, reduce_dtype=torch.float32)


ACCELERATE_TYPES = {Engine.ddp: ("MULTI_GPU", "MULTI_CPU"), Engine.fsdp2: ("FSDP",)}
"""What accelerate calls an engine."""


def check_started(accelerator: Any, group: ProcessGroup, me: Member) -> None:
    """Look whether what came up is what was asked for: accelerate starts less without a word.

    Raises:
        FrameworkError: it is not.
    """
    worlds = {me.world, accelerator.num_processes, distributed.get_world_size()}
    if mismatches := worlds - {group.processes}:
        raise FrameworkError(
            f"launch={group.engine.value}: {group.processes} processes were asked for, but {min(mismatches)} joined"
        )
    kind = accelerator.distributed_type.value
    if kind not in ACCELERATE_TYPES[group.engine]:
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
        _check_sharded(wrapped, group)


def _check_sharded(model: torch.nn.Module, group: ProcessGroup) -> None:
    """Look whether all weights, also those that are frozen, lie in as many pieces and replicas as were asked for."""
    weights = list(model.named_parameters())
    uncut = [(name, weight) for name, weight in weights if not _is_sharded(weight, group)]
    if uncut:
        name, weight = uncut[0]
        replicas = f" in {group.replicas} replicas" if group.hybrid else ""
        raise FrameworkError(
            f"launch={group.engine.value}: {len(uncut)} of {len(weights)} weights are not cut into {group.shards} "
            f"pieces{replicas}, the first is {name} ({str(weight.dtype).removeprefix('torch.')})"
        )


def _is_sharded(weight: Any, group: ProcessGroup) -> bool:
    if not isinstance(weight, DTensor) or weight.device_mesh.size() != group.processes:
        return False
    placed = zip(weight.placements, weight.device_mesh.shape, strict=True)
    shards = [size for placement, size in placed if placement.is_shard()]
    return bool(shards) and math.prod(shards) == group.shards


def broadcast_from_first(me: Member, decide: Callable[[], T]) -> T:
    """Return what the first process decides, in all of them."""
    objects = [decide() if me.rank == 0 else None]
    distributed.broadcast_object_list(objects, src=0)
    decision: Any = objects[0]
    return decision  # type: ignore[no-any-return] # an object that was pickled


def all_reduce_max(value: int, device: str) -> int:
    """Return the largest number that a process has."""
    return int(_all_reduce(torch.tensor(value, device=device), distributed.ReduceOp.MAX).item())


def all_reduce_sum(value: float, device: str) -> float:
    """Return the sum of what the processes have."""
    return float(_all_reduce(torch.tensor(value, dtype=torch.float64, device=device), distributed.ReduceOp.SUM).item())


def _all_reduce(value: torch.Tensor, operation: Any) -> torch.Tensor:
    distributed.all_reduce(value, op=operation)
    return value
