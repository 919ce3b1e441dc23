"""Muon for matrices and AdamW for all other weights, as one optimizer with one state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.optim import AdamW, Muon, Optimizer


class MuonAndAdamW(Optimizer):
    """Two optimizers of torch; the groups of the first come first.

    Args:
        matrices: groups for Muon.
        muon: its arguments.
        remaining: groups for AdamW.
        adamw: its arguments.
    """

    def __init__(
        self,
        matrices: Sequence[dict[str, Any]],
        muon: Mapping[str, Any],
        remaining: Sequence[dict[str, Any]],
        adamw: Mapping[str, Any],
    ) -> None:
        self.parts: list[Optimizer] = [Muon(matrices, **muon)] if matrices else []
        self.parts += [AdamW(remaining, **adamw)] if remaining else []
        super().__init__([group for part in self.parts for group in part.param_groups], {"lr": adamw["lr"]})
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Give a loaded state to both; `load_state_dict` ends here."""
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Let the parts work on the groups and states of the whole, which schedules and checkpoints see."""
        at = 0
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups, part.state = self.param_groups[at : at + count], self.state
            at += count

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override] # no loss: nothing asks
        """Update all weights."""
        if closure is not None:
            raise ValueError("this optimizer takes no closure")
        for part in self.parts:
            part.step()
