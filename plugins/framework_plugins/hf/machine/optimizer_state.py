"""The state of an optimizer, as a checkpoint has it: by the names of the weights, and read without pickle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

STATES, GROUPS, OTHERS = "states", "groups", "others"
"""What is kept: for each weight, of each group, and under other keys than weights."""
Tensor = torch.Tensor


def saved_state(
    optimizer: torch.optim.Optimizer,
    names: Mapping[torch.nn.Parameter, str],
    gather: Callable[[Tensor], Tensor] = lambda value: value,
) -> dict[str, Any]:
    """Return the state of an optimizer; `gather` puts a tensor together of which a process has a piece."""
    states = {
        names[weight]: {
            key: gather(value) if isinstance(value, Tensor) else value for key, value in optimizer.state[weight].items()
        }
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    other_state = {key: value for key, value in optimizer.state.items() if not isinstance(key, Tensor)}
    return {STATES: states, GROUPS: groups, OTHERS: other_state}


def load_state(
    optimizer: torch.optim.Optimizer,
    saved: Mapping[str, Any],
    names: Mapping[torch.nn.Parameter, str],
    piece: Callable[[Tensor, Tensor], Tensor] = lambda value, _: value,
) -> None:
    """Put a state back; `piece` cuts out of a whole tensor what a process has of a weight.

    torch converts states to the number format of their weights; they get back the one that they were saved in.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = {
        index: {
            key: piece(value, weight) if isinstance(value, Tensor) else value
            for key, value in saved[STATES][names[weight]].items()
        }
        for index, weight in enumerate(weights)
    }
    at, groups = 0, []
    for group, settings in zip(optimizer.param_groups, saved[GROUPS], strict=True):
        count = len(group["params"])
        groups.append({**settings, "params": list(range(at, at + count))})
        at += count
    optimizer.load_state_dict({"state": {**states, **saved[OTHERS]}, "param_groups": groups})
    for index, weight in enumerate(weights):
        for key, value in states[index].items():
            now = optimizer.state[weight].get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype is not value.dtype:
                optimizer.state[weight][key] = value.to(now.device)
