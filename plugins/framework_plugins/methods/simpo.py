"""Simple preference optimization (Meng et al., arXiv 2405.14734): a margin of mean log-probabilities."""

from __future__ import annotations

from framework.api.training import LossValue, TokenScores
from framework_plugins.methods.config import SimpoConfig
from framework_plugins.methods.cpo import alpha_reward
from framework_plugins.methods.pairs import PairMethod, pairs_of, reward_metrics, smoothed_loss


class Simpo(PairMethod[SimpoConfig]):
    """Learns that a token of the chosen answer is likelier, on average, than one of the rejected answer."""

    name = "simpo"

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the loss of the margins, each less `simpo_gamma`."""
        config, pairs = self.config, pairs_of(scores.policy)
        chosen, rejected = (config.beta * alpha_reward(mean, config.alpha) for mean in pairs.means)
        losses = smoothed_loss(chosen - rejected - config.simpo_gamma, config.label_smoothing)
        return LossValue(losses.sum() / scores.count, reward_metrics(chosen, rejected, pairs, scores.count))
