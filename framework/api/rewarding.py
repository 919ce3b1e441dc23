"""Scores answers by the rewards of a run. A reward that fails ends the run: an error must never look like a score of 0.

    reward = rewarding.rewarder(plan.reward)
    rewards = reward(prompts, answers, step=3, total_steps=100)

An option of `reward=` is a `Reward`, or a metric, whose score gets the other sign if lower is better.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Any, SupportsFloat

from framework.api.protocols import AnswerMetric, AnyMetric, Generator, Reward, RewardContext
from framework.api.records import Answer, Answered, Prompt, Rewards, Sampled
from framework.api.schema import MethodConfig, RewardConfig, SamplingParams
from framework.api.scoring import question
from framework.api.selection import Selection
from framework.api.text import count
from framework.util.errors import FrameworkError, describe_error
from framework.util.guard import Caught, short_repr
from framework.util.time_limit import TookTooLongError, within

__all__ = ["RunRewards", "limited", "number", "place_of", "rewarder", "score", "weighted_sum"]

AnyReward = Reward | AnyMetric
"""What `reward=` chooses."""
NO_LISTS = (str, bytes, bytearray, Mapping, AbstractSet)
"""What can be iterated, and has no number for each answer in its order."""
SHOWN_CHARACTERS = 60
"""Characters of a prompt without a place that a message shows."""


def rewarder(chosen: Mapping[str, Selection]) -> RunRewards:
    """Return what calls the chosen rewards, each with its weight.

    Raises:
        FrameworkError: one cannot be created, or cannot tell one answer from another.
    """
    rewards = {name: choice.create() for name, choice in chosen.items()}
    for name, reward in rewards.items():
        if not isinstance(reward, Reward) and getattr(reward, "needs_log_probs", False):
            raise FrameworkError(
                f"reward={name} measures the reference and not the answer, so all answers to a prompt have the same "
                "reward: choose another one"
            )
    weights = {name: choice.config.weight for name, choice in chosen.items()}
    return RunRewards(rewards, weights, {name: choice.config.max_seconds for name, choice in chosen.items()})


class RunRewards:
    """The rewards of a run, by name, their weights, and the seconds that a call may take: a `Rewarder`."""

    def __init__(
        self,
        rewards: Mapping[str, AnyReward],
        weights: Mapping[str, float],
        max_seconds: Mapping[str, float] | None = None,
    ) -> None:
        self.rewards, self.weights = dict(rewards), dict(weights)
        self.max_seconds = {**dict.fromkeys(rewards, RewardConfig.max_seconds), **(max_seconds or {})}

    def __call__(
        self, prompts: Sequence[Prompt], answers: Sequence[Answer], *, step: int = 0, total_steps: int = 0
    ) -> Rewards:
        """Score answers, each to the prompt in the same place.

        Raises:
            FrameworkError: a reward fails, or gives something else than a number or None for each answer.
        """
        context = RewardContext(step, total_steps)
        items = {name: self.score(name, prompts, answers, context) for name in self.rewards}
        from_episodes = _episode_rewards(answers)
        items, all_weights = {**items, **from_episodes}, {**self.weights, **dict.fromkeys(from_episodes, 1.0)}
        rows = list(zip(*items.values(), strict=True)) or [()] * len(answers)
        weights = [all_weights[name] for name in items]
        metrics = {name: math.fsum(values) / len(values) for name, values in context.metrics.items() if values}
        return Rewards([weighted_sum(row, weights) for row in rows], items, all_weights, metrics, context.columns)

    def of_texts(self) -> RunRewards:
        """Return those that need nothing but texts: no environment in which an answer was made."""
        rewards = {
            name: reward for name, reward in self.rewards.items() if not getattr(reward, "needs_environments", False)
        }
        return RunRewards(rewards, {name: self.weights[name] for name in rewards}, self.max_seconds)

    def score(
        self,
        name: str,
        prompts: Sequence[Prompt],
        answers: Sequence[Answer],
        context: RewardContext,
        max_seconds: float | None = None,
    ) -> list[float | None]:
        """Score answers by one of the rewards; see `score`. `max_seconds`: instead of its own."""
        limit = self.max_seconds[name] if max_seconds is None else max_seconds
        return score(name, self.rewards[name], prompts, answers, context, limit)


def _episode_rewards(answers: Sequence[Answer]) -> dict[str, list[float | None]]:
    """Return the rewards that environments give for their answers, by the name of the environment's class."""
    rewards = [answer.episode.rewards if isinstance(answer, Sampled) and answer.episode else {} for answer in answers]
    names = dict.fromkeys(name for scores in rewards for name in scores)
    return {name: [scores.get(name) for scores in rewards] for name in names}


def weighted_sum(row: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the sum of the rewards that are known; None if none is."""
    terms = [weight * item for weight, item in zip(weights, row, strict=True) if item is not None]
    return math.fsum(terms) if terms else None


def score(
    name: str,
    reward: AnyReward,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    context: RewardContext,
    max_seconds: float,
) -> list[float | None]:
    """Score answers by one reward.

    Raises:
        FrameworkError: it raises, takes too long, or gives something else than a number or None for each answer; names
            the reward and the prompt.
    """
    if not answers:
        return []
    failed = Caught(UnusableRewardError)
    with failed:
        return within(max_seconds, partial(_call, name, reward, prompts, answers, context))
    error = failed.error
    if isinstance(error, TookTooLongError):
        # Of those that take too long together, one takes more than its share.
        location = _failing_prompt(name, reward, prompts, answers, context, max_seconds / len(answers))
        raise FrameworkError(
            f"reward={name} takes longer than reward.{name}.max_seconds={max_seconds:g} for the answers to {location}: "
            "raise the limit, or let it give up on an answer that takes long, and return None for it"
        ) from error
    assert error is not None  # noqa: S101 - nothing was returned
    location = _failing_prompt(name, reward, prompts, answers, context, max_seconds)
    raise FrameworkError(f"reward={name} fails for the answers to {location}: {describe_error(error)}") from error


class UnusableRewardError(FrameworkError):
    """A reward returned something else than a number or None for each answer."""


def _call(
    name: str, reward: AnyReward, prompts: Sequence[Prompt], answers: Sequence[Answer], context: RewardContext
) -> list[float | None]:
    """Call a reward, and read what it returns: that may compute, wait or fail only now."""
    if isinstance(reward, Reward):
        return _as_numbers(name, reward.rewards(prompts, answers, context), prompts)
    return _as_numbers(name, _metric_scores(reward, prompts, answers), prompts)


def _metric_scores(metric: AnyMetric, prompts: Sequence[Prompt], answers: Sequence[Answer]) -> list[Any]:
    """Return the score of each answer, with the other sign if lower is better; None without a needed reference."""
    sign = 1 if metric.higher_is_better else -1
    indices = [n for n, prompt in enumerate(prompts) if prompt.reference is not None or not metric.needs_reference]
    values: Sequence[Any] = []
    if isinstance(metric, AnswerMetric):
        inputs = [_answered(prompts[n], answers[n]) for n in indices]
        scores = metric.score_all(inputs) if inputs else None
        values = scores.items if scores else []
        if scores and scores.notes and all(item is None for item in values):
            raise FrameworkError(scores.notes[0])
    else:
        values = [metric.score(answers[n].text, prompts[n].reference) for n in indices]
    signed = [item if item is None or isinstance(item, str) else sign * item for item in values]
    if len(signed) != len(indices):
        return signed
    by_index = dict(zip(indices, signed, strict=True))
    return [by_index.get(n) for n in range(len(prompts))]


def _answered(prompt: Prompt, answer: Answer) -> Answered:
    return Answered(
        question(prompt),
        answer.text,
        prompt.reference,
        answer.tokens,
        answer.stopped,
        None,
        prompt.where,
        prompt.cluster,
    )


def _failing_prompt(
    name: str,
    reward: AnyReward,
    prompts: Sequence[Prompt],
    answers: Sequence[Answer],
    context: RewardContext,
    max_seconds: float,
) -> str:
    """Return the place of the first prompt whose answer alone makes the reward fail, else those of all prompts."""
    for prompt, answer in zip(prompts, answers, strict=True):
        failed = Caught()
        with failed:
            within(max_seconds, partial(_call, name, reward, [prompt], [answer], context))
        if failed.error:
            return place_of(prompt)
    return f"{_places(prompts)}, together only"


def limited(generate: Generator, config: MethodConfig) -> Generator:
    """Return what draws the same answers within the seconds that the method has for that."""
    max_seconds = config.draw_seconds()

    def draw(prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
        try:
            return within(max_seconds, partial(generate, prompts, params))
        except TookTooLongError as error:
            raise FrameworkError(
                f"drawing {params.n} answers to {_places(prompts)} takes longer than "
                f"method.max_draw_seconds={max_seconds:g}: raise it, or draw fewer or shorter answers "
                "(method.num_generations, method.max_completion_length)"
            ) from error

    return draw


def _places(prompts: Sequence[Prompt]) -> str:
    return f"{place_of(prompts[0])}{f' and {len(prompts) - 1} more' if len(prompts) > 1 else ''}"


def place_of(prompt: Prompt) -> str:
    """Return where a prompt is, or its first characters."""
    return prompt.where or repr(question(prompt)[:SHOWN_CHARACTERS])


def _as_numbers(name: str, result: Any, prompts: Sequence[Prompt]) -> list[float | None]:
    is_list = isinstance(result, Iterable) and not isinstance(result, NO_LISTS) and getattr(result, "ndim", 1) != 0
    if not is_list:
        raise UnusableRewardError(
            f"reward={name} returned {short_repr(result)} for {count(len(prompts), 'answer')}: return a list with a "
            "number for each"
        )
    items = list(itertools.islice(result, len(prompts) + 1))  # it may have no end
    if len(items) != len(prompts):
        sized = len(result) if isinstance(result, Sized) else len(items)
        endless = len(items) > len(prompts) and not isinstance(result, Sized)
        returned = f"more than {count(len(prompts), 'reward')}" if endless else count(sized, "reward")
        raise UnusableRewardError(
            f"reward={name} returned {returned} for {count(len(prompts), 'answer')}: return one for each, and None for "
            "an answer that it has no opinion on"
        )
    return [number(name, item, prompt) for item, prompt in zip(items, prompts, strict=True)]


def number(name: str, item: Any, prompt: Prompt) -> float | None:
    """Return a reward as a number.

    Raises:
        FrameworkError: it is neither a finite number nor None.
    """
    if item is None:
        return None
    if isinstance(item, SupportsFloat):
        with Caught():  # of a tensor with several numbers, of a number that is too large
            value = float(item)
            if math.isfinite(value):
                return value
    raise UnusableRewardError(
        f"reward={name} returned {short_repr(item)} for an answer to {place_of(prompt)}: return a finite number, or "
        "None for an answer that it has no opinion on"
    )
