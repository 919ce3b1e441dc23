"""The validation loss, in passes as large as memory allows."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from functools import partial

import torch

from framework.api.records import TokenRow
from framework_plugins.hf.loss.loss import moved
from framework_plugins.hf.packing.parts import Part
from framework_plugins.hf.train.oom_retry import OomRetry
from framework_plugins.hf.train.passes import Passes

CHUNK = 256
"""Rows among which the validation loss looks for common beginnings."""
LOWER = "trainer.max_seq_length"


class Evaluation:
    """Mean losses of rows.

    Args:
        passes: how rows go through the model.
        oom_retry: what is done where memory runs out.
        device: where the model is.
    """

    def __init__(self, passes: Passes, oom_retry: OomRetry, device: str) -> None:
        self.passes = passes
        self.oom_retry = oom_retry
        self.device = device
        self.largest = 0
        """Tokens of the largest part that went through."""

    def loss(self, rows: Sequence[TokenRow]) -> float:
        """Return the mean loss over the supervised tokens; rows of similar length or beginning share a pass."""
        total, count = 0.0, 0
        for start in range(0, len(rows), CHUNK):
            some = [rows[number] for number in range(start, min(start + CHUNK, len(rows)))]
            loss, learned = self._attempt(some, rehearsal=False)
            total, count = total + loss, count + learned
        return total / count

    def rehearse(self, rows: Sequence[TokenRow]) -> None:
        """Make the longest pass, so that what does not fit is found before a training and not after its first epoch.

        A baseline that went through all of these rows has shown it already.
        """
        if rows:
            self._attempt(longest(rows, CHUNK), rehearsal=True)

    def _attempt(self, rows: Sequence[TokenRow], *, rehearsal: bool) -> tuple[float, int]:
        call = partial(self._sum, rows, rehearsal=rehearsal)
        return self.oom_retry.attempt(call, partial(self.passes.climb, rows), "the validation loss", LOWER)

    def _sum(self, rows: Sequence[TokenRow], *, rehearsal: bool) -> tuple[float, int]:
        """Return the summed loss of rows and their learned tokens, in a rehearsal of the longest pass alone."""
        parts = self.passes.packer(rows)
        if rehearsal:
            parts = [part for part in [max(parts, key=tokens)] if tokens(part) > self.largest]
        total, learned = 0.0, 0
        with torch.inference_mode():
            for part in parts:
                total += self.passes.losses.sum(moved(part, self.device)).item()
                learned = part["count"]
                self.largest = max(self.largest, tokens(part))
        return total, learned


def tokens(part: Part) -> int:
    """Return how many tokens a part has, padding included."""
    return int(part["input_ids"].numel())


def longest(rows: Iterable[TokenRow], count: int) -> list[TokenRow]:
    """Return the longest rows; they are read once, and not kept."""
    return heapq.nlargest(count, rows, key=lambda row: len(row.input_ids))
