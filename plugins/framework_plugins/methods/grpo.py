"""Group relative policy optimization (Shao et al., arXiv 2402.03300), with the means and the clipping that TRL has.

For G answers to one prompt, with rewards r and for each token t of answer i the log-probabilities l (now), o (when the
answers were made) and f (of the reference):

    advantage        A_i = (r_i - mean r) / (std r + 1e-4); the std over the group, over the step, or no division.
                     std has G - 1 in the denominator. An answer that no reward could score is in neither, and A_i = 0.
    ratio            w_it = exp(l_it - o_it), or for GSPO (arXiv 2507.18071) exp(mean_t (l_it - o_it)), one per answer
    loss of a token  L_it = -min(w_it A_i, clip(w_it, 1 - epsilon, 1 + epsilon_high) A_i) + beta w_it k_it
                     times rho_it if the draw is corrected for: exp(o_it - d_it) with the log-probability d of the draw,
                     or exp(sum_t (o_it - d_it)), limited by `rollout`
    divergence       k_it = exp(f_it - l_it) - (f_it - l_it) - 1
    dapo, bnpo       sum L_it / (learned tokens of the step)
    dr_grpo          sum L_it / (answers of the step x max_completion_length)
    grpo             sum_i (mean_t L_it) / (answers of the step)

A step is all answers between two updates of the weights, so no mean depends on how it is cut. In the first update with
some answers o is l itself: every ratio is 1, and only its slope counts. An answer that is masked because it was cut
counts for the advantages and as an answer, and has no learned tokens.

Once the advantages are known, a loss term reads one answer, so each answer is a `TokenGroup`; trees compute the prompt
that answers of a pass have in common once. An answer with an advantage of 0 teaches nothing without `beta` and is left
out of the passes, so the tokens and answers of the step come as facts of each group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from framework.api import Example, Measure, Model, Prompt
from framework.api.training import (
    Generator,
    GroupedRows,
    LossValue,
    Method,
    Objective,
    Rewarder,
    Role,
    Sampled,
    TokenGroup,
    TokenScores,
)
from framework_plugins.methods.config import (
    ADVANTAGE,
    ANSWERS,
    TOKENS,
    GrpoConfig,
    GrpoLoss,
    ImportanceLevel,
    ScaleRewards,
)
from framework_plugins.methods.questions import check_question, question_of

Tensor = torch.Tensor
LEAST_STD = 1e-4
"""What TRL adds to a standard deviation."""


def advantages(rewards: NDArray[np.float64], scale: ScaleRewards) -> NDArray[np.float64]:
    """Return the advantage of each answer, 0 for one without a reward.

    Args:
        rewards: (prompts, answers), not a number where no reward could score an answer.
        scale: what they are divided by.
    """
    scored = ~np.isnan(rewards)
    centered = rewards - _mean(rewards, scored)
    if scale is ScaleRewards.group:
        centered = centered / (_std(rewards, scored) + LEAST_STD)
    elif scale is ScaleRewards.batch:
        centered = centered / (_std(rewards.reshape(1, -1), scored.reshape(1, -1)) + LEAST_STD)
    result: NDArray[np.float64] = np.where(scored, centered, 0.0)
    return result


def _mean(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    mean: NDArray[np.float64] = np.where(mask, values, 0).sum(1, keepdims=True) / mask.sum(1, keepdims=True).clip(1)
    return mean


def _std(values: NDArray[np.float64], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    squares = np.where(mask, values - _mean(values, mask), 0.0) ** 2
    std: NDArray[np.float64] = np.sqrt(squares.sum(1, keepdims=True) / (mask.sum(1, keepdims=True) - 1).clip(1))
    return std


class Grpo(Method):
    """Learns which of its own answers are better than the others; the method, and its objective."""

    linear = whole_step = False

    def __init__(self, config: GrpoConfig) -> None:
        self.config = config
        self.needs_reference = config.beta > 0
        self.objective: Objective | None = self

    def check(self, example: Example) -> None:
        """Take a question, with an answer to compare with or without one."""
        check_question(example, "grpo")

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the question: the answers are made while the model trains."""
        return ((Role.prompt, question_of(example)),)

    def groups(
        self, step: int, prompts: Sequence[Prompt], generate: Generator, reward: Rewarder
    ) -> Sequence[TokenGroup]:
        """Draw answers to each prompt, and compare their rewards."""
        config = self.config
        answers = generate(prompts, config.sampling(step))
        repeated_prompts = [prompt for prompt in prompts for _ in range(config.num_generations)]
        totals = reward(repeated_prompts, [*chain.from_iterable(answers)]).total
        rewards = np.array([math.nan if total is None else total for total in totals])
        return answer_groups(answers, rewards.reshape(len(prompts), -1), config)

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure nothing else: what an answer is worth, the evaluators say."""
        del model, groups
        return {}

    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Read the learned tokens."""
        del group
        return None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return what these groups add to the loss of the step."""
        config = self.config
        total: Any = 0.0
        means: dict[str, Any] = {}
        for index, (group, (log_probs,)) in enumerate(zip(scores.groups, scores.policy, strict=True)):
            reference = None if scores.reference is None else scores.reference[index][0]
            losses = self._tokens(group, log_probs, reference, scores.tokens, means)
            if config.loss_type is GrpoLoss.grpo:
                total = total + losses.sum() / (len(log_probs) * group.facts[ANSWERS])
            elif config.loss_type is GrpoLoss.dr_grpo:
                total = total + losses.sum() / (config.max_completion_length * group.facts[ANSWERS])
            else:
                total = total + losses.sum() / group.facts[TOKENS]
        return LossValue(total, means)

    def _tokens(
        self, group: TokenGroup, log_probs: Tensor, reference: Tensor | None, tokens: int, means: dict[str, Any]
    ) -> Tensor:
        """Return the loss of each token of an answer, and add to the means of what is logged."""
        config, advantage = self.config, group.facts[ADVANTAGE]
        old_log_probs = (
            _array(group, Sampled.OLD_LOG_PROBS, log_probs)
            if Sampled.OLD_LOG_PROBS in group.arrays
            else log_probs.detach()
        )
        log_ratio = log_probs - old_log_probs
        if config.importance_sampling_level is ImportanceLevel.sequence:
            log_ratio = log_ratio.mean().expand_as(log_probs)
        ratio, high = log_ratio.exp(), config.epsilon if config.epsilon_high is None else config.epsilon_high
        losses = -torch.min(ratio * advantage, ratio.clamp(1 - config.epsilon, 1 + high) * advantage)
        if Sampled.IMPORTANCE_RATIO in group.arrays:
            losses = losses * _array(group, Sampled.IMPORTANCE_RATIO, log_probs)
        detached_ratio, logged = ratio.detach(), dict[str, Tensor]()
        clipped = {
            "clip_ratio/low_mean": (detached_ratio < 1 - config.epsilon) & (advantage < 0),
            "clip_ratio/high_mean": (detached_ratio > 1 + high) & (advantage > 0),
        }
        if Sampled.DRAWN_LOG_PROBS in group.arrays:
            logged[Sampled.DRAW_DIFFERENCE] = (
                old_log_probs.detach() - _array(group, Sampled.DRAWN_LOG_PROBS, log_probs)
            ).abs()
        if reference is not None:
            reference_log_ratio = reference - log_probs
            divergence = (reference_log_ratio.exp() - reference_log_ratio - 1) * ratio
            logged["kl"] = divergence.detach()
            losses = losses + config.beta * divergence
        clip_count = group.facts[TOKENS]
        if config.importance_sampling_level is ImportanceLevel.sequence:  # one ratio, of the answer
            clipped, clip_count = {name: value[:1] for name, value in clipped.items()}, group.facts[ANSWERS]
        # Answers without an advantage are never clipped, and count.
        for metrics, count in ((clipped, clip_count), (logged, tokens)):
            for name, value in metrics.items():
                means[name] = means.get(name, 0.0) + value.to(log_probs.dtype).sum() / count
        return losses


def _array(group: TokenGroup, name: str, like: Tensor) -> Tensor:
    return torch.from_numpy(group.arrays[name][0][:, 0]).to(like)


def answer_groups(
    answers: Sequence[Sequence[Sampled]], rewards: NDArray[np.float64], config: GrpoConfig
) -> list[TokenGroup]:
    """Return what a step learns from: a group for each answer that teaches something, at least one.

    Args:
        answers: to each prompt.
        rewards: of the answers, (prompts, answers); not a number where no reward could score one.
        config: the settings.
    """
    pairs = zip(chain.from_iterable(answers), advantages(rewards, config.scale_rewards).ravel().tolist(), strict=True)
    candidates = [
        (answer, advantage)
        for answer, advantage in pairs
        if answer.row.learned and (answer.stopped or not config.mask_truncated_completions)
    ]
    tokens: float = sum(len(answer.row.learned) for answer, _ in candidates)
    answer_count: float = rewards.size
    taught = [candidate for candidate in candidates if candidate[1] or config.beta]
    if not taught:  # a step has a pass: one that weighs nothing
        learned = [answer for group in answers for answer in group if answer.row.learned]
        taught = [(min(learned, key=lambda answer: len(answer.row.input_ids)), 0.0)]
        tokens = answer_count = math.inf
    return [
        GroupedRows(
            (answer.row,),
            facts={ADVANTAGE: advantage, TOKENS: tokens, ANSWERS: answer_count},
            arrays={Sampled.DRAWN_LOG_PROBS: (np.asarray(answer.log_probs, np.float32)[:, None],)},
        )
        for answer, advantage in taught
    ]
