"""Direct preference optimization (Rafailov et al., arXiv 2305.18290), with the losses that TRL has for it.

With a policy and a reference, D = log pi(answer) - log ref(answer). Every loss is a function of D of the chosen and of
the rejected answer, and 0 is where a training starts: the sigmoid loss is ln 2 there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch.nn.functional import logsigmoid

from framework.api.training import LossValue, TokenScores
from framework_plugins.methods.config import ACROSS_PAIRS, Divergence, DpoConfig, DpoLoss
from framework_plugins.methods.pairs import (
    PairMethod,
    Pairs,
    Tensor,
    chosen_loss,
    pairs_of,
    reward_metrics,
    smoothed_loss,
)

HIGHEST = 80.0
"""Exponents above it would not be numbers in 32 bits."""


class Dpo(PairMethod[DpoConfig]):
    """Learns to prefer the chosen answer, and stays near the model that the training starts from."""

    name = "dpo"
    needs_reference = True

    def __init__(self, config: DpoConfig) -> None:
        super().__init__(config)
        self.whole_step = bool(ACROSS_PAIRS & {*config.loss_type})

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the weighted sum of the losses."""
        config = self.config
        assert scores.reference is not None  # noqa: S101 - `needs_reference`
        policy, reference = (pairs_of(rows, config.ld_alpha) for rows in (scores.policy, scores.reference))
        chosen, rejected = policy.chosen - reference.chosen, policy.rejected - reference.rejected
        weights = config.loss_weights or [1.0] * len(config.loss_type)
        total = torch.zeros((), dtype=chosen.dtype, device=chosen.device)
        for kind, weight in zip(config.loss_type, weights, strict=True):
            if kind is DpoLoss.sft:
                value = chosen_loss(scores)
            else:
                value = LOSSES[kind](_Ratios(config, chosen, rejected, policy, reference)).sum() / scores.count
            total = total + weight * value
        rewards = config.beta * chosen, config.beta * rejected
        return LossValue(total, reward_metrics(*rewards, policy, scores.count))


class _Ratios:
    """What the losses read: `c` and `r` are D of the chosen and the rejected answers, a number for each pair."""

    def __init__(self, config: DpoConfig, c: Tensor, r: Tensor, policy: Pairs, reference: Pairs) -> None:
        self.c, self.r, self.policy, self.reference = c, r, policy, reference
        self.beta, self.smoothing, self.tau = config.beta, config.label_smoothing, config.discopop_tau
        self.scores = _scores(config, c), _scores(config, r)
        self.x = config.beta * (self.scores[0] - self.scores[1])

    @property
    def by_token(self) -> Tensor:
        """The difference of the scores per token."""
        return self.scores[0] / self.policy.chosen_tokens - self.scores[1] / self.policy.rejected_tokens

    def smoothed(self, delta: Tensor) -> Tensor:
        """Return the sigmoid loss, if a share of the labels is the wrong way round."""
        return smoothed_loss(self.beta * delta, self.smoothing)


def _scores(config: DpoConfig, ratio: Tensor) -> Tensor:
    """Return f' of the divergence that keeps the policy near its reference."""
    kind, alpha = config.f_divergence_type, config.f_alpha_divergence_coef - 1
    if kind is Divergence.forward_kl:
        return 1 - torch.exp(-ratio)
    if kind is Divergence.js_divergence:
        return math.log(2) + logsigmoid(ratio)
    if kind is Divergence.alpha_divergence and abs(alpha) >= 1e-6:  # noqa: PLR2004 - TRL's; below it is reverse KL
        return (torch.exp((alpha * ratio).clamp(max=HIGHEST)) - 1) / alpha
    return ratio


def _exo_pair(of: _Ratios) -> Tensor:
    right, wrong = math.log1p(-of.smoothing), math.log(of.smoothing)
    log_right, log_wrong = logsigmoid(of.x), logsigmoid(-of.x)
    return log_right.exp() * (log_right - right) + log_wrong.exp() * (log_wrong - wrong)


def _robust(of: _Ratios) -> Tensor:
    clean, flipped = -(1 - of.smoothing) * logsigmoid(of.x), -of.smoothing * logsigmoid(-of.x)
    return (clean - flipped) / (1 - 2 * of.smoothing)


def _nca_pair(of: _Ratios) -> Tensor:
    c, r = of.beta * of.c, of.beta * of.r
    return -logsigmoid(c) - 0.5 * logsigmoid(-c) - 0.5 * logsigmoid(-r)


def _aot(of: _Ratios) -> Tensor:
    policy, reference = (model_pairs.chosen - model_pairs.rejected for model_pairs in (of.policy, of.reference))
    return of.smoothed(policy.sort().values - reference.sort().values)


def _discopop(of: _Ratios) -> Tensor:
    mix = torch.sigmoid(of.x / of.tau)
    return -logsigmoid(of.x) * (1 - mix) + torch.exp(-of.x) * mix


LOSSES: Mapping[DpoLoss, Callable[[_Ratios], Tensor]] = {
    DpoLoss.sigmoid: lambda of: -logsigmoid(of.x),
    DpoLoss.hinge: lambda of: torch.relu(1 - of.x),
    DpoLoss.ipo: lambda of: (of.by_token - 1 / (2 * of.beta)) ** 2,
    DpoLoss.sigmoid_norm: lambda of: -logsigmoid(of.beta * of.by_token),
    DpoLoss.exo_pair: _exo_pair,
    DpoLoss.nca_pair: _nca_pair,
    DpoLoss.robust: _robust,
    DpoLoss.bco_pair: lambda of: -logsigmoid(of.beta * of.c) - logsigmoid(-of.beta * of.r),
    DpoLoss.sppo_hard: lambda of: (of.c - 0.5 / of.beta) ** 2 + (of.r + 0.5 / of.beta) ** 2,
    DpoLoss.aot: _aot,
    DpoLoss.aot_unpaired: lambda of: of.smoothed(of.c.sort().values - of.r.sort().values),
    DpoLoss.apo_zero: lambda of: 1 - torch.sigmoid(of.beta * of.c) + torch.sigmoid(of.beta * of.r),
    DpoLoss.apo_down: lambda of: torch.sigmoid(of.beta * of.c) + 1 - torch.sigmoid(of.beta * (of.c - of.r)),
    DpoLoss.discopop: _discopop,
}
"""The loss of each pair; `sft` reads tokens instead. The names and formulas are those of TRL's DPOTrainer."""
