"""What chooses the next token of one answer. Without torch, so a chat in llama.cpp uses it too."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Sampler = Callable[[NDArray[np.float32]], int]
"""Chooses the next token by logits of shape (vocabulary,)."""


def greedy(logits: NDArray[np.float32]) -> int:
    """Choose greedily."""
    return int(logits.argmax())


def make_sampler(temperature: float, top_p: float, seed: int | None) -> Sampler:
    """Return what chooses the next token by its logits; the same on every device."""
    if temperature == 0:
        return greedy
    dice = np.random.default_rng(seed)

    def draw(logits: NDArray[np.float32]) -> int:
        warm = logits.astype(np.float64) / temperature
        shares = np.exp(warm - warm.max())
        shares /= shares.sum()
        # A large vocabulary takes long to sort; the tokens left out here have less than 1 - top_p together.
        order = np.flatnonzero(shares >= (1 - top_p) / len(shares))
        order = order[np.argsort(-shares[order], kind="stable")] if top_p < 1 else order
        likely = shares[order]
        # The likeliest stays however small top_p is: nothing is before it.
        weights = np.where(likely.cumsum() - likely < top_p, likely, 0.0)
        return int(dice.choice(order, p=weights / weights.sum()))

    return draw
