"""Sharded weights: each process has one shard, and none of them the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

WRAPPER = "_checkpoint_wrapped_module"
"""Where FSDP's activation checkpointing keeps a layer, and what it puts into names."""


def trained(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Give what is trained, by the names that it has in one process."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name.replace(f"{WRAPPER}.", ""), weight


def allocate(model: torch.nn.Module) -> None:
    """Give memory to what is trained and has none yet: accelerate tells an optimizer's weights apart by their places.

    Nothing is written there; the first process's weights take their place.
    """
    allocated: dict[torch.nn.Parameter, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            if weight.requires_grad and weight.is_meta:
                if weight not in allocated:
                    allocated[weight] = torch.nn.Parameter(torch.empty_like(weight, device="cpu"))
                module.register_parameter(name, allocated[weight])


def whole(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight in one piece on the CPU; all processes have to ask together."""
    data = weight.detach()
    if isinstance(data, DTensor):
        # Pieces that lie in the CPU's memory are put together where the processes reach each other.
        pieces: DTensor = data.to(data.device_mesh.device_type)  # type: ignore[assignment] # the kind stays
        data = pieces.full_tensor()
    return data.cpu()


def like(value: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return a whole value in the pieces in which a weight lies, where it has the weight's shape."""
    if not isinstance(weight, DTensor):
        return value.to(weight.device)
    if value.shape != weight.shape:
        return value
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415 - only for a resume

    moved = value.to(weight.to_local().device)
    return distribute_tensor(moved, weight.device_mesh, weight.placements)


def unwrap(model: torch.nn.Module) -> None:
    """Take off what computes activations again: peft finds an adapter's weights by the names of the layers."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            inner = getattr(child, WRAPPER, None)
            if inner is not None:
                setattr(parent, name, inner)


def reshard(model: torch.nn.Module) -> None:
    """Cut again what a forward pass without a backward pass has left whole."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(weight: Any) -> torch.Tensor:
    """Return the piece of a weight that is here."""
    piece: torch.Tensor = weight.to_local() if isinstance(weight, DTensor) else weight
    return piece
