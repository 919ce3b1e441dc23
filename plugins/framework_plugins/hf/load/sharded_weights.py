"""Sharded weights: each process has one shard, and none of them the whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
from accelerate import PartialState
from torch import distributed
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

from framework.api.training import Engine, ProcessGroup
from framework_plugins.hf.machine.hardware import Hardware
from framework_plugins.lib.group_member import Member, member

CHECKPOINT_WRAPPER = "_checkpoint_wrapped_module"
"""Where FSDP's activation checkpointing keeps a layer, and what it puts into names."""
TIMEOUT_SECONDS = 1800
"""How long a process waits for the others, as in transformers' trainer."""


def device_for_shards(group: ProcessGroup, machine: Hardware, quantization: Any) -> str:
    """Return the device to load weights on before they are sharded: whole, they may not fit on a GPU.

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
    join_group(me, machine)
    return "cpu" if me.local_rank == 0 else "meta"


def join_group(me: Member, machine: Hardware) -> None:
    """Let the processes of a group reach each other: by a file on one machine, where a port would be open to others.

    accelerate makes the group, and chooses its backend.
    """
    if distributed.is_initialized():
        return
    meeting: dict[str, Any] = {}
    if me.store:
        store = distributed.FileStore(me.store, me.world)  # type: ignore[attr-defined] # as torch documents it
        meeting = {"store": store, "rank": me.rank, "world_size": me.world}
    PartialState(cpu=machine.device == "cpu", timeout=timedelta(seconds=TIMEOUT_SECONDS), **meeting)


def trained_weights(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Give the trained weights by their names in one process."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name.replace(f"{CHECKPOINT_WRAPPER}.", ""), weight


def allocate_trained(model: torch.nn.Module) -> None:
    """Allocate trained weights that have no memory yet: accelerate identifies an optimizer's weights by address.

    Nothing is written there; the first process's weights take their place.
    """
    allocated: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.requires_grad and weight.is_meta:
                if weight not in allocated:
                    allocated[weight] = torch.nn.Parameter(torch.empty_like(weight, device="cpu"))
                module.register_parameter(name, allocated[weight])


def full_tensor(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in one piece on the CPU; all processes have to ask together."""
    data = weight.detach()
    if isinstance(data, DTensor):
        # Pieces that lie in the CPU's memory are put together where the processes reach each other.
        pieces: DTensor = data.to(data.device_mesh.device_type)  # type: ignore[assignment] # the kind stays
        data = pieces.full_tensor()
    return data.cpu()


def shard_like(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a whole value in the pieces in which a weight lies, if it has the weight's shape."""
    if not isinstance(weight, DTensor):
        return value.to(weight.device)
    if value.shape != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - only for a resume

    moved = value.to(weight.to_local().device)
    return distribute_tensor(moved, weight.device_mesh, weight.placements)


def unwrap_checkpointing(model: torch.nn.Module) -> None:
    """Remove the wrappers of activation checkpointing: peft finds an adapter's weights by the names of the layers."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            inner = getattr(child, CHECKPOINT_WRAPPER, None)
            if inner is not None:
                setattr(parent, name, inner)


def reshard(model: torch.nn.Module) -> None:
    """Shard the weights again that a forward pass without a backward pass has left whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local_shard(weight: Any) -> torch.Tensor:
    """Return the piece of a weight that is here."""
    piece: torch.Tensor = weight.to_local() if isinstance(weight, DTensor) else weight
    return piece
