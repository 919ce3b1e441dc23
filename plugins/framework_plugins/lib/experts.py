"""Experts of a layer that are one tensor, and the matrices that an adapter has for each of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
STACKED = 3
"""Dimensions of such a tensor: experts, rows, columns."""
NAMED, TENSORS = 3, 2
"""How many experts of a tensor, and tensors, a message names."""
FLIPS = 2.0**-7
"""Two numbers of 16 bits that another order of the same sums rounds differently, as a share of a number."""


def fused(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Give the names of tensors that hold all experts of a layer, the tensors, and the modules that have them."""
    for name, part in model.named_modules():
        for key, weight in part.named_parameters(recurse=False) if not isinstance(part, CONVOLUTIONS) else ():
            if weight.dim() == STACKED:
                yield f"{name}.{key}", weight, part


def matrices(a: torch.Tensor, b: torch.Tensor, experts: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give the two matrices of each expert, (rank, inputs) and (outputs, rank), out of those that peft saves.

    One has an expert's rows one after another, the other has a column of each expert in turn.
    """
    rank = len(a) // experts
    for expert in range(experts):
        yield a[expert * rank : (expert + 1) * rank], b[:, expert::experts]


def tolerance(share: float, weights: int) -> float:
    """Return how far a matrix may be from the expected one, as a share of its size.

    Args:
        share: of a large one.
        weights: how many numbers it has.
    """
    return share + FLIPS / math.sqrt(weights)


def listed(wrong: Mapping[str, Sequence[int]]) -> str:
    """Name experts by the tensors that hold them, the first few."""
    return "; ".join(f"{named(numbers)} of {name}" for name, numbers in [*wrong.items()][:TENSORS])


def problem(wrong: Mapping[str, Sequence[int]], compared: int, what: str) -> str:
    """Say which experts are wrong; empty if none is.

    Args:
        wrong: the numbers of experts by the names of tensors that hold them.
        compared: how many such tensors there are.
        what: what is wrong with them.
    """
    return f"{what}: {listed(wrong)} ({len(wrong)} of {compared} tensors of experts)" if wrong else ""


def named(numbers: Sequence[int]) -> str:
    """Name experts by their numbers, the first few."""
    more = f" and {len(numbers) - NAMED} more" if len(numbers) > NAMED else ""
    return f"{'experts' if len(numbers) > 1 else 'expert'} {', '.join(map(str, numbers[:NAMED]))}{more}"
