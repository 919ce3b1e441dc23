"""Five ways in which the experts of a layer get other matrices than their own."""

from __future__ import annotations

import torch

ALL = ("order of experts", "gate and up swapped", "transposed", "B of another expert", "one expert left out")


def named(scramble: str, experts: int) -> str:
    """Return how a message names the experts that are not themselves."""
    one = {"order of experts": "experts 0, 1", "B of another expert": "expert 2", "one expert left out": "expert 3"}
    return one.get(scramble) or f"experts 0, 1, 2 and {experts - 3} more"


def of_matrices(
    scramble: str, matrices: torch.Tensor, *, concatenated: bool = True, share: float = 1.0
) -> torch.Tensor:
    """Scramble matrices, (experts, outputs, inputs).

    Args:
        scramble: how.
        matrices: of all experts.
        concatenated: a gate's rows are not between those of up.
        share: how much of them the adapter is.
    """
    if scramble == "order of experts":
        return matrices[[1, 0, *range(2, len(matrices))]]
    if scramble == "gate and up swapped":
        count = matrices.shape[1]
        rows = torch.arange(count).view(2, -1).flip(0) if concatenated else torch.arange(count).view(-1, 2).flip(1)
        return matrices[:, rows.flatten()]
    if scramble == "transposed":
        return matrices.mT
    changed = matrices.clone()
    if scramble == "one expert left out":
        changed[3] = 0
    else:
        changed[2] += share * (changed[1] - changed[2])
    return changed


def of_factors(
    scramble: str, a: torch.Tensor, b: torch.Tensor, *, concatenated: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scramble the factors of an adapter, (experts, rank, inputs) and (experts, outputs, rank)."""
    if scramble == "order of experts":
        return of_matrices(scramble, a), of_matrices(scramble, b)
    if scramble == "transposed":
        return b.mT, a.mT
    return a, of_matrices(scramble, b, concatenated=concatenated)


def of_saved(
    scramble: str, tensors: dict[str, torch.Tensor], name: str, *, concatenated: bool, experts: int = 4
) -> None:
    """Scramble the matrices of experts that peft has saved under a name."""
    lora_a, lora_b = f"{name}.lora_A.weight", f"{name}.lora_B.weight"
    inputs, outputs = tensors[lora_a].shape[1], len(tensors[lora_b])
    a = tensors[lora_a].view(experts, -1, inputs)
    b = tensors[lora_b].view(outputs, -1, experts).movedim(2, 0)
    a, b = of_factors(scramble, a, b, concatenated=concatenated)
    tensors[lora_a], tensors[lora_b] = a.flatten(0, 1).contiguous(), b.movedim(0, 2).flatten(1).contiguous()
