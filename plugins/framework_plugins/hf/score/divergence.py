"""The divergence of a model from its base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from peft import PeftModel

from framework import FrameworkError
from framework.api.training import TokenRow
from framework_plugins.hf.packing.parts import Part
from framework_plugins.hf.score.scoring import Evaluation, cat_on_cpu, map_rows

Tensor = torch.Tensor
TOP_TOKENS = 256
"""Tokens of the vocabulary by which a base is remembered that training will change for good, at each place."""


class DivergenceFromBase:
    """The divergence of a model from its base, whichever way it is trained."""

    def __init__(self) -> None:
        self._remembered = BaseTopTokens()

    def __call__(
        self, model: Any, evaluation: Callable[[], Evaluation], rows: Sequence[TokenRow], *, trained: bool
    ) -> list[float]:
        """Return for each row the mean over its learned tokens of KL(base || model) in nats.

        Args:
            model: as it is.
            evaluation: gives that of the model, which is found out when first asked for.
            rows: their labels say where to look.
            trained: whether it is its base no more, where all weights are trained.

        Raises:
            FrameworkError: all weights are trained, and these rows were not asked about before.
        """
        if isinstance(model, PeftModel):
            if model.get_model_status().enabled is False:  # it is the base now
                return [0.0] * len(rows)
            return adapter_divergence(evaluation(), rows, model.disable_adapter)
        if not trained:
            self._remembered.remember(evaluation(), rows)
            return [0.0] * len(rows)
        divergences = self._remembered.divergence(evaluation(), rows)
        if divergences is None:
            raise FrameworkError(
                "full fine-tuning keeps no base: the divergence from it is measured only in a run with both stages, "
                "baseline and evaluate"
            )
        return divergences


def adapter_divergence(
    evaluation: Evaluation, rows: Sequence[TokenRow], base: Callable[[], AbstractContextManager[None]]
) -> list[float]:
    """Return for each row the mean over its learned tokens of KL(base || model) in nats, of a model with an adapter.

    Args:
        evaluation: of the model.
        rows: their labels say where to look.
        base: inside it the model is its base.
    """
    losses = evaluation.passes.losses

    def of_part(part: Part) -> Tensor:
        with base():
            before = losses.states_or_logits(part)
        pairs = zip(losses.logit_chunks(before), losses.logit_chunks(losses.states_or_logits(part)), strict=True)
        return cat_on_cpu(
            [_kl(base_logits.log_softmax(-1), logits.log_softmax(-1)) for (_, base_logits), (_, logits) in pairs]
        )

    return map_rows(evaluation, rows, of_part, _mean)


class BaseTopTokens:
    """What a base says that training will change for good: its likeliest tokens at each place, the rest as one.

    The divergence of that is at most the divergence of the whole (the data processing inequality), and close to it: the
    tokens that are put together are the unlikely ones.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[tuple[int, ...], ...], list[tuple[Tensor, Tensor]]] = {}

    def remember(self, evaluation: Evaluation, rows: Sequence[TokenRow]) -> None:
        """Remember what the model says of rows now."""
        losses = evaluation.passes.losses

        def of_part(part: Part) -> tuple[Tensor, Tensor]:
            likeliest = [
                logits.log_softmax(-1).topk(min(TOP_TOKENS, logits.shape[-1]))
                for _, logits in losses.logit_chunks(losses.states_or_logits(part))
            ]
            return cat_on_cpu([top.values for top in likeliest]), cat_on_cpu([top.indices for top in likeliest])

        self._known[_key(rows)] = map_rows(evaluation, rows, of_part, lambda pair, at: (pair[0][at], pair[1][at]))

    def divergence(self, evaluation: Evaluation, rows: Sequence[TokenRow]) -> list[float] | None:
        """Return each row's divergence from the remembered distribution; None if there is none."""
        remembered = self._known.get(_key(rows))
        if remembered is None:
            return None
        losses = evaluation.passes.losses
        divergences = []
        # One by one: each row has tokens of its own to look up.
        for row, (before, ids) in zip(rows, remembered, strict=True):

            def of_part(part: Part, ids: Tensor = ids) -> Tensor:
                pieces = losses.logit_chunks(losses.states_or_logits(part))
                return cat_on_cpu(
                    [logits.log_softmax(-1).cpu().gather(1, ids[positions]) for positions, logits in pieces]
                )

            (after,) = map_rows(evaluation, [row], of_part, lambda log_probs, at: log_probs[at])
            divergences.append(float(_kl(_with_rest(before), _with_rest(after)).mean()) if len(before) else 0.0)
        return divergences


def _mean(values: Tensor, places: list[int]) -> float:
    return float(values[places].mean()) if places else 0.0


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of each row of log-probabilities; rounding can make a zero of it a little less."""
    return (log_p.exp() * (log_p - log_q)).sum(-1).clamp_(min=0)


def _with_rest(log_probs: Tensor) -> Tensor:
    """Append the log-probability of all other tokens together."""
    remainder = (1 - log_probs.exp().sum(-1, keepdim=True)).clamp(min=1e-9)
    return torch.cat([log_probs, remainder.log()], -1)


def _key(rows: Sequence[TokenRow]) -> tuple[tuple[int, ...], ...]:
    return tuple((*row.input_ids, *row.labels) for row in rows)
