"""Answers that a training draws while it goes: prompts of a step -> answers -> rewards -> groups of tokens.

The method says how many answers there are and what is learned of them; from there on the step is that of any rows. The
dice depend on the seed of the run and the number of the step only, and how many answers are drawn at once is kept with
a checkpoint, so a step that was interrupted has the same answers when it is made again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from framework import FrameworkError
from framework.api import Answer, Guard, Prompt, Rewards, Sample, scoring
from framework.api.training import (
    Generator,
    GroupedRows,
    ImportanceSampling,
    Method,
    Rewarder,
    Role,
    RolloutConfig,
    Sampled,
    SamplingParams,
    TokenGroup,
    TokenRow,
)
from framework_plugins.hf.machine.out_of_memory import Batches
from framework_plugins.hf.machine.world import World
from framework_plugins.hf.train.reference import row_key

SHOWN = 2
"""Answers of a step that are shown: the best to one of its prompts, and the worst."""
PATIENCE = 5
"""Steps in which no prompt has answers of different worth, after which a training that never had one ends."""
NAMED = 0.1
"""Nats that the log-probabilities of a draw may be away from those of the training, on average, before that is said:
rounding in 16 bits gives 0.04, other weights more than 1."""
Array = np.ndarray[Any, np.dtype[Any]]
log = logging.getLogger(__name__)


@dataclass
class Draws:
    """The answers of a step and their rewards, as they pass by.

    Attributes:
        prompts: one for each answer.
        answers: those to one prompt follow each other.
        n: answers to each prompt.
        rewards: of the answers.
    """

    prompts: Sequence[Prompt] = ()
    answers: Sequence[Answer] = ()
    n: int = 1
    rewards: Rewards = field(default_factory=lambda: Rewards([], {}, {}))

    def metrics(self) -> dict[str, float]:
        """Return what is logged, under TRL's names; the entropy is estimated from the tokens that were drawn."""
        totals = _as_array(self.rewards.total).reshape(-1, self.n)
        metrics = {"reward": _mean(totals), "reward_std": _std(totals)}
        for name, items in self.rewards.items.items():
            values = _as_array(items)
            metrics |= {f"rewards/{name}/mean": _mean(values), f"rewards/{name}/std": _std(values)}
        metrics["frac_reward_zero_std"] = float(np.mean([not _differ(group) for group in totals]))
        metrics["completions/mean_length"] = float(np.mean([answer.tokens for answer in self.answers]))
        metrics["completions/clipped_ratio"] = float(np.mean([not answer.stopped for answer in self.answers]))
        log_probs = [
            log_prob for answer in self.answers if isinstance(answer, Sampled) for log_prob in answer.log_probs
        ]
        if log_probs:
            metrics["entropy"] = -float(np.mean(log_probs))
        episodes = [answer.episode for answer in self.answers if isinstance(answer, Sampled) and answer.episode]
        if episodes:
            calls = sum(episode.calls for episode in episodes)
            metrics["tools/call_frequency"] = calls / len(episodes)
            metrics["tools/failure_frequency"] = sum(episode.failed for episode in episodes) / max(1, calls)
        return {name: value for name, value in {**metrics, **self.rewards.metrics}.items() if not math.isnan(value)}

    def shown(self) -> list[Sample]:
        """Return the best and the worst answer to the first prompt that has both."""
        totals = self.rewards.total
        for start in range(0, len(totals), self.n):
            scored = [index for index in range(start, start + self.n) if totals[index] is not None]
            if scored and _differ([totals[index] or 0.0 for index in scored]):
                ordered = sorted(scored, key=lambda index: totals[index] or 0.0, reverse=True)
                return [self._sample(index) for index in (ordered[0], ordered[-1])][:SHOWN]
        return [self._sample(0)] if self.answers else []

    def _sample(self, index: int) -> Sample:
        prompt, answer = self.prompts[index], self.answers[index]
        scores = {name: items[index] for name, items in self.rewards.items.items()}
        rewards = {name: score for name, score in scores.items() if score is not None}
        return Sample(scoring.question(prompt), answer.text, prompt.reference, answer.stopped, rewards, answer.tokens)


class Rollouts:
    """Makes the groups of each step, the same ones in each process.

    Args:
        method: of the run.
        prompts: what each row of the training asks.
        sample: answers prompts.
        reward: scores answers.
        config: what `rollout=` says of answers that were drawn with other log-probabilities.
        seed: of the run.
        steps: of the training.
        steps_per_draw: steps whose answers are drawn at once, with the weights before the first of them.
        iterations: how often these steps are made with the same answers, one round after the other.
        prompt_indices: the numbers of the prompts of each step; those that are made again count once.
        score: returns the log-probabilities of rows as the training computes them, by `row_key`.
        world: the processes that share the prompts of a step.
        batches: in which this process draws.
    """

    def __init__(
        self,
        method: Method,
        prompts: Sequence[Prompt],
        sample: Generator,
        reward: Rewarder,
        config: RolloutConfig,
        seed: int,
        steps: int,
        steps_per_draw: int,
        iterations: int,
        prompt_indices: Sequence[Sequence[int]],
        score: Callable[[Sequence[TokenGroup]], Mapping[bytes, torch.Tensor]],
        world: World,
        batches: Batches,
    ) -> None:
        self.batches = batches
        self.method, self.prompts, self.sample, self.reward = method, prompts, sample, reward
        self.config = config
        self.seed, self.steps, self.steps_per_draw, self.iterations = seed, steps, steps_per_draw, iterations
        self.prompt_indices, self.score, self.world = prompt_indices, score, world
        self.metrics: dict[str, float] = {}
        """Metrics of the last draw, until the trainer takes them."""
        self.shown: list[Sample] = []
        """Some answers of the last draw."""
        self.warned = False
        self.silent = 0
        """Steps at the beginning in which no prompt taught anything; -1 after one that did."""
        self.waiting: dict[int, Sequence[TokenGroup]] = {}
        """Groups whose answers are drawn and that are still needed, by the first step that learns from them."""

    def __call__(self, step: int) -> Sequence[TokenGroup]:
        """Return the groups of a step.

        Raises:
            FrameworkError: a reward fails, or no prompt of the first steps has answers of different worth.
        """
        start, offset = self._locate(step)
        first_step = start + offset % self.steps_per_draw
        if first_step not in self.waiting:
            self._draw(start)
        groups, repeat = self.waiting[first_step], step + self.steps_per_draw
        if repeat > self.steps or self._locate(repeat)[0] != start:
            del self.waiting[first_step]
        return groups

    def _locate(self, step: int) -> tuple[int, int]:
        """Return the first step that learns from the answers of a draw, and how many steps a step is after it."""
        offset = (step - 1) % (self.steps_per_draw * self.iterations)
        return step - offset, offset

    def _draw(self, start: int) -> None:
        draws: list[Draws] = []
        indices = self.prompt_indices[(start - 1) // self.iterations :][: self.steps_per_draw]
        steps = range(start, min(start + self.steps_per_draw, self.steps + 1))
        self.waiting = {
            step: self._groups(step, step_indices, draws) for step, step_indices in zip(steps, indices, strict=False)
        }
        self.metrics = _merge_draws(draws).metrics()
        self.shown = draws[0].shown()
        self._check_signal(draws)
        corrects = self.config.importance_sampling_mode is not ImportanceSampling.none
        self._score_old([step for step in self.waiting if step != start or self.iterations > 1 or corrects])
        if corrects:
            self._correct()

    def _groups(self, step: int, indices: Sequence[int], into: list[Draws]) -> Sequence[TokenGroup]:
        """Draw the answers of a step, and let the method make its groups of them."""
        draws = Draws()
        into.append(draws)

        def generate(prompts: Sequence[Prompt], params: SamplingParams) -> Sequence[Sequence[Sampled]]:
            draws.n, share = params.n, self.world.share(len(prompts))
            params = replace(params, seed=self.seed * 2**32 + params.seed, first=share.start)
            answers = self.sample(prompts[share], params) if prompts[share] else []
            return [*chain.from_iterable(self.world.all_gather(answers))]

        def reward(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
            draws.prompts, draws.answers = prompts, answers
            share = self._own_answers(prompts)
            rewards = (
                self.reward(prompts[share], answers[share], step=step - 1, total_steps=self.steps)
                if prompts[share]
                else None
            )
            draws.rewards = _merge_rewards([part for part in self.world.all_gather(rewards) if part is not None])
            return draws.rewards

        with Guard(f"the groups of method {type(self.method).__name__} cannot be made"):
            return self.method.groups(step, [self.prompts[index] for index in indices], generate, reward)

    def _own_answers(self, prompts: Sequence[Prompt]) -> slice:
        """Return the answers that this process scores: all of those to a prompt, for rewards that compare them."""
        starts = [at for at, prompt in enumerate(prompts) if not at or prompt is not prompts[at - 1]]
        bounds, share = [*starts, len(prompts)], self.world.share(len(starts))
        return slice(*(bounds[min(index, len(starts))] for index in (share.start, share.stop)))

    def _check_signal(self, draws: Sequence[Draws]) -> None:
        """End a training from which nothing can be learned."""
        if self.silent < 0 or any(step.metrics()["frac_reward_zero_std"] < 1 for step in draws):
            self.silent = -1
            return
        self.silent += len(draws) * self.iterations
        if self.silent < min(PATIENCE, self.steps):
            return
        latest = draws[-1]
        means = {name: _mean(_as_array(items)) for name, items in latest.rewards.items.items()}
        means_text = ", ".join(f"{name} {'None' if math.isnan(mean) else f'{mean:g}'}" for name, mean in means.items())
        steps = "step" if self.silent == 1 else f"{self.silent} steps"
        raise FrameworkError(
            f"no prompt of the first {steps} has answers with different rewards (the means are {means_text}), "
            "so there is nothing to learn: give a reward that distinguishes these answers, easier or harder prompts, "
            f"or more than method.num_generations={latest.n}"
        )

    def _score_old(self, later: Sequence[int]) -> None:
        """Score the answers of steps to come with the weights that drew them: then those will have changed."""
        if not later:
            return
        scored = self.score([group for step in later for group in self.waiting[step]])
        for step in later:
            self.waiting[step] = [_with_old_log_probs(group, scored) for group in self.waiting[step]]

    def _correct(self) -> None:
        """Give each token the ratio of its probability as the training computes it to that of the draw."""
        ratios = []
        for step, groups in self.waiting.items():
            corrected = [
                _with_array(group, Sampled.IMPORTANCE_RATIO, importance_ratios(group, self.config)) for group in groups
            ]
            self.waiting[step] = corrected
            ratios += [ratio for group in corrected for ratio in group.arrays[Sampled.IMPORTANCE_RATIO]]
        flat = np.concatenate(ratios)
        for name, value in (("min", flat.min()), ("mean", flat.mean()), ("max", flat.max())):
            self.metrics[f"{Sampled.IMPORTANCE_RATIO}/{name}"] = float(value)

    def take_shown(self) -> list[Sample]:
        """Return some answers of the last draw, once."""
        samples, self.shown = self.shown, []
        return samples

    def take_metrics(self) -> dict[str, float]:
        """Return what is logged of the last draw, once."""
        metrics, self.metrics = self.metrics, {}
        return metrics

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Compare the log-probabilities of the draws with those that the training computes, before the update.

        Raises:
            FrameworkError: they are of other weights.
        """
        difference, limit = metrics.get(Sampled.DRAW_DIFFERENCE, 0.0), self.config.max_logp_difference
        if difference <= min(NAMED, limit):
            return
        text = (
            f"step {step}: the log-probabilities of the answers are {difference:.2g} nats a token away from those that "
            "the training computes"
        )
        if difference > limit:
            raise FrameworkError(
                f"{text}: the answers were drawn with other weights than those that are trained "
                f"(rollout.max_logp_difference={limit:g})"
            )
        mode = self.config.importance_sampling_mode
        if not self.warned:
            advice = "set rollout.importance_sampling_mode=sequence_mask to correct for it, or trainer.dtype=fp32"
            if mode is not ImportanceSampling.none:
                advice = f"rollout.importance_sampling_mode={mode.value} corrects for it"
            log.warning("%s: the draw rounds differently; %s", text, advice)
        self.warned = True

    def state(self) -> dict[str, Any]:
        """Return what a training that resumes here needs, as plain values."""
        return {
            "most at once": self.world.all_gather(self.batches.max_size),
            "silent": self.silent,
            "shown": [asdict(sample) for sample in self.shown],
            "waiting": {step: [_to_plain(group) for group in groups] for step, groups in self.waiting.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        sizes = state.get("most at once", [None])  # of each process; checkpoints of earlier versions have none
        known = [size for size in sizes if size is not None]
        if known:  # with as many processes each has its own again
            self.batches.max_size = sizes[self.world.rank] if len(sizes) == self.world.size else min(known)
            log.warning("%d answers are drawn at once, as after memory ran out before", min(known))
        self.silent, self.shown = state["silent"], [Sample(**sample) for sample in state["shown"]]
        self.waiting = {step: [_from_plain(plain) for plain in groups] for step, groups in state["waiting"].items()}


def _merge_draws(draws: Sequence[Draws]) -> Draws:
    """Return the answers of all steps of a draw."""
    prompts = [prompt for step in draws for prompt in step.prompts]
    answers = [answer for step in draws for answer in step.answers]
    return Draws(prompts, answers, draws[0].n, _merge_rewards([step.rewards for step in draws]))


def _merge_rewards(parts: Sequence[Rewards]) -> Rewards:
    """Return the rewards of all processes or steps; a number that some of them log is their mean, by answers."""
    if len(parts) == 1:
        return parts[0]
    sizes, names = [len(part.total) for part in parts], dict.fromkeys(name for part in parts for name in part.metrics)
    pairs = {
        name: [(part.metrics[name], size) for part, size in zip(parts, sizes, strict=True) if name in part.metrics]
        for name in names
    }
    columns = dict.fromkeys(name for part in parts for name in part.columns)
    return Rewards(
        [*chain.from_iterable(part.total for part in parts)],
        {name: [*chain.from_iterable(part.items[name] for part in parts)] for name in parts[0].items},
        parts[0].weights,
        {
            name: sum(value * size for value, size in values) / sum(size for _, size in values)
            for name, values in pairs.items()
        },
        {
            name: [*chain.from_iterable(part.columns.get(name, [None] * len(part.total)) for part in parts)]
            for name in columns
        },
    )


def importance_ratios(group: TokenGroup, config: RolloutConfig) -> list[Array]:
    """Return for each row of a group the ratio of each token, limited as TRL's `vllm_importance_sampling_mode` does.

    Raises:
        FrameworkError: the method does not tell with which log-probabilities the tokens were drawn.
    """
    mode, ratios = config.importance_sampling_mode.value, list[Array]()
    lowest, highest = config.importance_sampling_clip_min, config.importance_sampling_clip_max
    lowest, highest = 0.0 if lowest is None else lowest, math.inf if highest is None else highest
    if Sampled.DRAWN_LOG_PROBS not in group.arrays:
        raise FrameworkError(
            f"rollout.importance_sampling_mode={mode} needs the log-probabilities of the draw, which the method does "
            f"not give its groups as the array {Sampled.DRAWN_LOG_PROBS}: set rollout.importance_sampling_mode=none"
        )
    for old_log_probs, drawn_log_probs in zip(
        group.arrays[Sampled.OLD_LOG_PROBS], group.arrays[Sampled.DRAWN_LOG_PROBS], strict=True
    ):
        difference = (old_log_probs - drawn_log_probs).astype(np.float32)
        if mode.startswith("sequence"):
            difference = np.full_like(difference, difference.sum())
        ratio = np.exp(difference)
        inside = (ratio >= lowest) & (ratio <= highest)
        ratios.append(
            ratio.clip(lowest, highest) if mode.endswith("truncate") else np.where(inside, ratio, 0).astype(np.float32)
        )
    return ratios


def _with_old_log_probs(group: TokenGroup, scored: Mapping[bytes, torch.Tensor]) -> TokenGroup:
    return _with_array(
        group, Sampled.OLD_LOG_PROBS, [scored[row_key(row)].float().cpu().numpy()[:, None] for row in group.rows]
    )


def _with_array(group: TokenGroup, name: str, arrays: Sequence[Array]) -> TokenGroup:
    return GroupedRows(group.rows, group.roles, group.facts, {**group.arrays, name: tuple(arrays)})


def _to_plain(group: TokenGroup) -> dict[str, Any]:
    return {
        "rows": [(row.input_ids, row.labels, row.where) for row in group.rows],
        "roles": [int(role) for role in group.roles],
        "facts": dict(group.facts),
        "arrays": {name: [torch.from_numpy(np.array(array)) for array in rows] for name, rows in group.arrays.items()},
    }


def _from_plain(plain: Mapping[str, Any]) -> TokenGroup:
    return GroupedRows(
        tuple(TokenRow(*row) for row in plain["rows"]),
        tuple(Role(role) for role in plain["roles"]),
        plain["facts"],
        {name: tuple(array.numpy() for array in rows) for name, rows in plain["arrays"].items()},
    )


def _as_array(values: Iterable[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if value is None else value for value in values])


def _differ(values: Iterable[float]) -> bool:
    numbers = [value for value in values if not math.isnan(value)]
    return bool(numbers) and max(numbers) > min(numbers)


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if len(numbers) else math.nan


def _std(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    numbers = values[~np.isnan(values)]
    return float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan
