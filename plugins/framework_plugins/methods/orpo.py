"""Odds ratio preference optimization (Hong et al., arXiv 2403.07691): the chosen answers and a margin, no reference.

The chosen answers have the loss that they have in supervised fine-tuning; TRL adds that of the tokens of the prompt.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import logsigmoid

from framework.api.training import LossValue, TokenScores
from framework_plugins.methods.config import OrpoConfig
from framework_plugins.methods.pairs import PairMethod, Tensor, chosen_loss, pairs_of, reward_metrics


class Orpo(PairMethod[OrpoConfig]):
    """Learns the chosen answer, and that its odds are better than those of the rejected one."""

    name = "orpo"

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss of the chosen answers, and beta times that of the odds."""
        pairs, beta = pairs_of(scores.policy), self.config.beta
        chosen, rejected = pairs.means
        odds = (chosen - rejected) - (_log_1_minus_exp(chosen) - _log_1_minus_exp(rejected))
        ratio, likelihood = logsigmoid(odds).sum() / scores.count, chosen_loss(scores)
        metrics = reward_metrics(beta * chosen, beta * rejected, pairs, scores.count)
        return LossValue(likelihood - beta * ratio, metrics | {"log_odds_ratio": ratio, "nll_loss": likelihood})


def _log_1_minus_exp(x: Tensor) -> Tensor:
    """Return log(1 - e^x) for x < 0, each way where it loses no digits."""
    near = x > -math.log(2)
    close, far = x.where(near, x.new_full((), -1.0)), x.where(~near, x.new_full((), -1.0))
    return torch.where(near, torch.log(-torch.expm1(close)), torch.log1p(-torch.exp(far)))
