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
    whole: Callable[[Tensor], Tensor] = lambda value: value,
) -> dict[str, Any]:
    """Return the state of an optimizer; `whole` puts a tensor together of which a process has a piece."""
    states = {
        names[weight]: {
            key: whole(value) if isinstance(value, Tensor) else value for key, value in optimizer.state[weight].items()
        }
        for group in optimizer.param_groups
        for weight in group["params"]
    }
    groups = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    others = {key: value for key, value in optimizer.state.items() if not isinstance(key, Tensor)}
    return {STATES: states, GROUPS: groups, OTHERS: others}


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
        number: {
            key: piece(value, weight) if isinstance(value, Tensor) else value
            for key, value in saved[STATES][names[weight]].items()
        }
        for number, weight in enumerate(weights)
    }
    at, groups = 0, []
    for group, settings in zip(optimizer.param_groups, saved[GROUPS], strict=True):
        count = len(group["params"])
        groups.append({**settings, "params": list(range(at, at + count))})
        at += count
    others = saved.get(OTHERS, {})  # checkpoints of earlier versions have none
    optimizer.load_state_dict({"state": {**states, **others}, "param_groups": groups})
    for number, weight in enumerate(weights):
        for key, value in states[number].items():
            now = optimizer.state[weight].get(key)
            if isinstance(value, Tensor) and isinstance(now, Tensor) and now.dtype is not value.dtype:
                optimizer.state[weight][key] = value.to(now.device)
