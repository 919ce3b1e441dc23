"""What a model thinks of rows, token by token: log-probabilities, what was likeliest, how far it is from its base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import TypeVar

import torch

from framework.records import Scored, TokenRow
from framework_hf.evaluation import CHUNK, LOWER, Evaluation, tokens
from framework_hf.known import key
from framework_hf.losses import Losses, moved
from framework_hf.packing.parts import Part

Tensor = torch.Tensor
T = TypeVar("T")
R = TypeVar("R")
NAMED = ("input_ids", "position_ids", "source")
"""What tells one part of a pass from another."""
STATES = 1 << 24
"""Numbers that are kept of what a base read, of two or four bytes: some 4,000 tokens of a model with 8B parameters."""
KEPT = 256
"""Tokens of the vocabulary by which a base is remembered that training will change for good, at each place."""


def score(evaluation: Evaluation, rows: Sequence[TokenRow]) -> list[Scored]:
    """Return for each row the log-probabilities of its learned tokens in nats, and what was likeliest there."""
    losses = evaluation.passes.losses

    def tell(part: Part) -> tuple[Tensor, Tensor]:
        found, top = [], []
        for some, logits in losses.blocks(losses.seen(part)):
            found.append(logits.log_softmax(-1).gather(1, part["target"][some, None])[:, 0])
            top.append(logits.argmax(-1))
        return _joined(found), _joined(top)

    return _each(evaluation, rows, tell, lambda told, at: Scored(told[0][at].tolist(), told[1][at].tolist()))


class Apart:
    """How far a model with an adapter is from its base.

    The states in which the base read something are kept, up to `STATES` numbers, so that it reads the same rows once.
    """

    def __init__(self) -> None:
        self._states: dict[bytes, Tensor] = {}
        self._kept = 0

    def __call__(
        self, evaluation: Evaluation, rows: Sequence[TokenRow], base: Callable[[], AbstractContextManager[None]]
    ) -> list[float]:
        """Return for each row the mean over its learned tokens of KL(base || model) in nats.

        Args:
            evaluation: of the model.
            rows: their labels say where to look.
            base: inside it the model is its base.
        """
        losses = evaluation.passes.losses

        def tell(part: Part) -> Tensor:
            before = self._before(losses, part, base)
            pairs = zip(losses.blocks(before), losses.blocks(losses.seen(part)), strict=True)
            return _joined([_kl(one.log_softmax(-1), two.log_softmax(-1)) for (_, one), (_, two) in pairs])

        return _each(evaluation, rows, tell, _mean)

    def _before(self, losses: Losses, part: Part, base: Callable[[], AbstractContextManager[None]]) -> Tensor:
        """Return what the base's logits are made of."""
        name = key(*(part[name].flatten().tolist() for name in NAMED if name in part))
        if name in self._states:
            return self._states[name]
        with base():
            seen = losses.seen(part)
        if losses.head is not None and self._kept + seen.numel() <= STATES:
            self._states[name] = seen
            self._kept += seen.numel()
        return seen


class Remembered:
    """What a base says that training will change for good: its likeliest tokens at each place, the rest as one.

    The divergence of that is at most the divergence of the whole (the data processing inequality), and close to it: the
    tokens that are put together are the unlikely ones.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], ...], list[tuple[Tensor, Tensor]]] = {}

    def keep(self, evaluation: Evaluation, rows: Sequence[TokenRow]) -> None:
        """Remember what the model says of rows now."""
        losses = evaluation.passes.losses

        def tell(part: Part) -> tuple[Tensor, Tensor]:
            told = [
                logits.log_softmax(-1).topk(min(KEPT, logits.shape[-1]))
                for _, logits in losses.blocks(losses.seen(part))
            ]
            return _joined([one.values for one in told]), _joined([one.indices for one in told])

        self._known[_key(rows)] = _each(evaluation, rows, tell, lambda told, at: (told[0][at], told[1][at]))

    def divergence(self, evaluation: Evaluation, rows: Sequence[TokenRow]) -> list[float] | None:
        """Return how far the model has come from what was remembered; None where it was not asked about these rows."""
        known = self._known.get(_key(rows))
        if known is None:
            return None
        losses = evaluation.passes.losses
        found = []
        for row, (before, ids) in zip(rows, known, strict=True):  # one by one: each has tokens of its own to look up

            def tell(part: Part, ids: Tensor = ids) -> Tensor:
                pieces = losses.blocks(losses.seen(part))
                return _joined([logits.log_softmax(-1).cpu().gather(1, ids[some]) for some, logits in pieces])

            (after,) = _each(evaluation, [row], tell, lambda told, at: told[at])
            found.append(float(_kl(_with_rest(before), _with_rest(after)).mean()) if len(before) else 0.0)
        return found


def _each(
    evaluation: Evaluation,
    rows: Sequence[TokenRow],
    tell: Callable[[Part], T],
    of_row: Callable[[T, list[int]], R],
) -> list[R]:
    """Take rows through the model, and return for each what `of_row` makes of its places in what a part tells."""
    passes, found = evaluation.passes, []

    def take(some: Sequence[TokenRow]) -> dict[int, R]:
        made = {}
        with torch.inference_mode():
            for part, located in passes.packer.located(some):
                told = tell(moved(part, evaluation.device))
                evaluation.largest = max(evaluation.largest, tokens(part))
                made.update({id(row): of_row(told, places) for row, places in located})
        return made

    for start in range(0, len(rows), CHUNK):
        some = [rows[number] for number in range(start, min(start + CHUNK, len(rows)))]
        made = evaluation.ladder.attempt(partial(take, some), partial(passes.climb, some), "scoring rows", LOWER)
        found += [made[id(row)] for row in some]
    return found


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(parts)).cpu() if parts else torch.empty(0)


def _mean(told: Tensor, places: list[int]) -> float:
    return float(told[places].mean()) if places else 0.0


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of each row of log-probabilities; rounding can make a zero of it a little less."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_(min=0)


def _with_rest(log_probs: Tensor) -> Tensor:
    """Append the log-probability of all other tokens together."""
    rest = (1 - log_probs.exp().sum(-1, keepdim=True)).clamp(min=1e-9)
    return torch.cat([log_probs, rest.log()], -1)


def _key(rows: Sequence[TokenRow]) -> tuple[tuple[int, ...], ...]:
    return tuple((*row.input_ids, *row.labels) for row in rows)
