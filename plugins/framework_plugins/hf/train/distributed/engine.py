"""Set up a group of processes with accelerate, check it, and keep its processes together in their passes.

Engines keep the processes together around the model's own forward pass, and cut weights apart between passes. So every
process makes as many passes as the one with the most, and the model is always called as a whole.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, cast

import torch
from accelerate import Accelerator, ParallelismConfig
from accelerate.utils import DistributedDataParallelKwargs, FullyShardedDataParallelPlugin
from torch import distributed
from torch.distributed.fsdp import FSDPModule, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from framework import FrameworkError
from framework.api.training import Engine, ProcessGroup
from framework_plugins.hf.load.sharded_weights import join_group, reshard
from framework_plugins.hf.loss.probe import probe
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.hf.machine.precision import to_eval_mode
from framework_plugins.hf.settings.config import Packing
from framework_plugins.lib.group_member import Member


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


def start_accelerator(group: ProcessGroup, me: Member, machine: Hardware, mixed_precision: str) -> Accelerator:
    """Return the accelerator of a group.

    Raises:
        FrameworkError: what came up is not what was asked for.
    """
    accelerator = Accelerator(mixed_precision=mixed_precision, **accelerator_options(group, machine))
    check_started(accelerator, group, me)
    if group.hybrid:
        reduce_in_fp32(accelerator)
    return accelerator


def adopt(trainer: Any, group: ProcessGroup) -> None:
    """Look at what the engine made of a trainer's model, and find out on it how rows go through it.

    Raises:
        FrameworkError: it is not what was asked for.
    """
    runner = trainer.runner
    check_wrapped(runner.model, group)
    if group.engine is Engine.fsdp2:
        trainer.model = runner.model
        register_fsdp_forward_method(trainer.model, "generate")  # an adapter's weights are in pieces there too
    world, losses = runner.world, runner.passes.losses
    torch.manual_seed(trainer.args.seed + world.rank)  # dropout falls on other tokens in each
    to_eval_mode(trainer.model, trainer.args.device.type)
    losses.attach_engine(runner.model, trainer.args.device)
    probe(losses)
    trainer.model.train()
    reshard(trainer.model)
    # Rounding could let them see it differently.
    losses.apply_probe(world.from_first(lambda: losses.probe_result))
    packer = replace(runner.passes.packer, packing=losses.packing, dense_mask=losses.dense_mask)
    runner.passes.packer = runner.collator.packer = packer
    trainer.order.by_length = losses.packing is Packing.pad


@contextmanager
def in_step(accelerator: Any, model: Any, group: ProcessGroup | None, *, is_last: bool) -> Iterator[None]:
    """Let gradients be averaged only after the last pass of a step."""
    accelerator.sync_gradients = is_last
    if group is not None and group.hybrid:
        model.set_requires_all_reduce(is_last)
    without_sync = group is not None and group.engine is Engine.ddp and not is_last
    with cast("Any", model).no_sync() if without_sync else nullcontext():
        yield
