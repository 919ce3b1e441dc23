"""Contrastive preference optimization (Xu et al., arXiv 2401.08417): a margin of likelihoods, without a reference."""

from __future__ import annotations

import torch

from framework.api.training import LossValue, TokenScores
from framework_plugins.methods.config import CpoConfig, CpoLoss
from framework_plugins.methods.pairs import PairMethod, Tensor, chosen_loss, pairs_of, reward_metrics, smoothed_loss


class Cpo(PairMethod[CpoConfig]):
    """Learns the chosen answer, and that it is likelier than the rejected one."""

    name = "cpo"

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss of the margins, and `cpo_alpha` times that of the chosen answers."""
        config, pairs = self.config, pairs_of(scores.policy)
        by_token = config.loss_type is CpoLoss.ipo
        chosen, rejected = (
            alpha_reward(log_probs, config.alpha)
            for log_probs in (pairs.means if by_token else (pairs.chosen, pairs.rejected))
        )
        margin = chosen - rejected
        if config.loss_type is CpoLoss.hinge:
            losses = torch.relu(1 - config.beta * margin)
        elif config.loss_type is CpoLoss.ipo:
            losses = (margin - 1 / (2 * config.beta)) ** 2
        else:
            losses = smoothed_loss(config.beta * margin, config.label_smoothing)
        value = losses.sum() / scores.count
        if config.cpo_alpha:
            value = value + config.cpo_alpha * chosen_loss(scores)
        return LossValue(value, reward_metrics(config.beta * chosen, config.beta * rejected, pairs, scores.count))


def alpha_reward(log_probs: Tensor, alpha: float) -> Tensor:
    """Return the reward of AlphaPO (arXiv 2501.03884), (1 - p^-alpha) / alpha; log p for alpha 0."""
    return (1 - torch.exp(-alpha * log_probs)) / alpha if alpha else log_probs
