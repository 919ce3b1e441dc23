"""Answers that a training draws while it goes: prompts of a step -> answers -> rewards -> groups of tokens.

The method says how many answers there are and what is learned of them; from there on the step is that of any rows. The
dice depend on the seed of the run and the number of the step only, so a step that was interrupted has the same answers
when it is made again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from framework import FrameworkError
from framework.api import Answer, Prompt, Rewards, Sample, scoring
from framework.api.training import (
    DRAW_DIFFERENCE,
    OLD_LOG_PROBS,
    Generator,
    GroupedRows,
    MakesGroups,
    Rewarder,
    Role,
    Sampled,
    TokenGroup,
    TokenRow,
)

SHOWN = 2
"""Answers of a step that are shown: the best to one of its prompts, and the worst."""
PATIENCE = 5
"""Steps in which no prompt has answers of different worth, after which a training that never had one ends."""
NAMED, REFUSED = 0.1, 1.0
"""Nats that the log-probabilities of a draw may be away from those of the training, on average, before that is said,
and before the run ends: rounding in 16 bits gives 0.04, other weights more than 1."""
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
        totals = np.array([math.nan if each is None else each for each in self.rewards.total]).reshape(-1, self.n)
        found = {"reward": _mean(totals), "reward_std": _std(totals)}
        for name, items in self.rewards.items.items():
            values = np.array([math.nan if each is None else each for each in items])
            found |= {f"rewards/{name}/mean": _mean(values), f"rewards/{name}/std": _std(values)}
        found["frac_reward_zero_std"] = float(np.mean([not _differ(each) for each in totals]))
        found["completions/mean_length"] = float(np.mean([answer.tokens for answer in self.answers]))
        found["completions/clipped_ratio"] = float(np.mean([not answer.stopped for answer in self.answers]))
        log_probs = [each for answer in self.answers if isinstance(answer, Sampled) for each in answer.log_probs]
        if log_probs:
            found["entropy"] = -float(np.mean(log_probs))
        episodes = [each.episode for each in self.answers if isinstance(each, Sampled) and each.episode]
        if episodes:
            calls = sum(each.calls for each in episodes)
            found["tools/call_frequency"] = calls / len(episodes)
            found["tools/failure_frequency"] = sum(each.failed for each in episodes) / max(1, calls)
        return {name: value for name, value in {**found, **self.rewards.metrics}.items() if not math.isnan(value)}

    def shown(self) -> list[Sample]:
        """Return the best and the worst answer to the first prompt that has both."""
        totals = self.rewards.total
        for first in range(0, len(totals), self.n):
            known = [number for number in range(first, first + self.n) if totals[number] is not None]
            if known and _differ([totals[number] or 0.0 for number in known]):
                ordered = sorted(known, key=lambda number: totals[number] or 0.0, reverse=True)
                return [self._sample(number) for number in (ordered[0], ordered[-1])][:SHOWN]
        return [self._sample(0)] if self.answers else []

    def _sample(self, number: int) -> Sample:
        prompt, answer = self.prompts[number], self.answers[number]
        scores = {name: items[number] for name, items in self.rewards.items.items()}
        known = {name: score for name, score in scores.items() if score is not None}
        return Sample(scoring.question(prompt), answer.text, prompt.reference, answer.stopped, known, answer.tokens)


class Rollouts:
    """Makes the groups of each step.

    Args:
        method: of the run.
        prompts: what each row of the training asks.
        sample: answers prompts.
        reward: scores answers.
        seed: of the run.
        steps: of the training.
        together: steps whose answers are drawn at once, with the weights before the first of them.
        numbers_of: returns the numbers of the prompts of a step, from 1; needed for several steps together.
        score: returns the log-probabilities of rows as the training computes them, by the identity of a row.
    """

    def __init__(
        self,
        method: MakesGroups,
        prompts: Sequence[Prompt],
        sample: Generator,
        reward: Rewarder,
        seed: int,
        steps: int,
        together: int,
        numbers_of: Callable[[int], Sequence[int]],
        score: Callable[[Sequence[TokenGroup]], Mapping[int, torch.Tensor]],
    ) -> None:
        self.method, self.prompts, self.sample, self.reward = method, prompts, sample, reward
        self.seed, self.steps, self.together = seed, steps, together
        self.numbers_of, self.score = numbers_of, score
        self.metrics: dict[str, float] = {}
        """What the last draw is logged as; taken by the trainer."""
        self.shown: list[Sample] = []
        """Some answers of the last draw."""
        self.warned = False
        self.silent = 0
        """Steps at the beginning in which no prompt taught anything; -1 after one that did."""
        self.waiting: dict[int, Sequence[TokenGroup]] = {}
        """Groups of steps to come whose answers are drawn."""

    def __call__(self, step: int, numbers: Sequence[int]) -> Sequence[TokenGroup]:
        """Return the groups of a step.

        Raises:
            FrameworkError: a reward fails, or no prompt of the first steps has answers of different worth.
        """
        if step not in self.waiting:
            self._draw(step, numbers)
        return self.waiting.pop(step)

    def _draw(self, step: int, numbers: Sequence[int]) -> None:
        draws: list[Draws] = []
        self.waiting = {step: self._groups(step, numbers, draws)}
        for later in range(step + 1, min(step - (step - 1) % self.together + self.together, self.steps + 1)):
            self.waiting[later] = self._groups(later, self.numbers_of(later), draws)
        several = [each.metrics() for each in draws]
        names = dict.fromkeys(name for each in several for name in each)
        self.metrics = {name: float(np.mean([each[name] for each in several if name in each])) for name in names}
        self.shown = draws[0].shown()
        self._check_signal(draws)
        if len(self.waiting) > 1:
            self._keep_old([later for later in self.waiting if later != step])

    def _groups(self, step: int, numbers: Sequence[int], into: list[Draws]) -> Sequence[TokenGroup]:
        """Draw the answers of a step, and let the method make its groups of them."""
        draws = Draws()
        into.append(draws)

        def generate(prompts: Sequence[Prompt], n: int, *, seed: int, **settings: Any) -> Sequence[Sequence[Sampled]]:
            draws.n = n
            return self.sample(prompts, n, seed=self.seed * 2**32 + seed, **settings)

        def reward(prompts: Sequence[Prompt], answers: Sequence[Answer], **_: int) -> Rewards:
            draws.prompts, draws.answers = prompts, answers
            draws.rewards = self.reward(prompts, answers, step=step - 1, total_steps=self.steps)
            return draws.rewards

        return self.method.groups(step, [self.prompts[number] for number in numbers], generate, reward)

    def _check_signal(self, draws: Sequence[Draws]) -> None:
        """End a training from which nothing can be learned."""
        if self.silent < 0 or any(each.metrics()["frac_reward_zero_std"] < 1 for each in draws):
            self.silent = -1
            return
        self.silent += len(draws)
        if self.silent < min(PATIENCE, self.steps):
            return
        last = draws[-1]
        means = {name: _mean(np.array(_known(items))) for name, items in last.rewards.items.items()}
        given = ", ".join(f"{name} {'None' if math.isnan(mean) else f'{mean:g}'}" for name, mean in means.items())
        raise FrameworkError(
            f"no prompt of the first {self.silent} steps has answers with different rewards (the means are {given}), "
            "so there is nothing to learn: give a reward that distinguishes these answers, easier or harder prompts, "
            f"or more than method.num_generations={last.n}"
        )

    def _keep_old(self, later: Sequence[int]) -> None:
        """Score the answers of steps to come with the weights that drew them: then those will have changed."""
        scored = self.score([group for step in later for group in self.waiting[step]])
        for step in later:
            self.waiting[step] = [_with_old(group, scored) for group in self.waiting[step]]

    def take_shown(self) -> list[Sample]:
        """Return some answers of the last draw, once."""
        taken, self.shown = self.shown, []
        return taken

    def take_metrics(self) -> dict[str, float]:
        """Return what is logged of the last draw, once."""
        taken, self.metrics = self.metrics, {}
        return taken

    def check(self, step: int, metrics: Mapping[str, float]) -> None:
        """Compare the log-probabilities of the draws with those that the training computes, before the update.

        Raises:
            FrameworkError: they are of other weights.
        """
        difference = metrics.get(DRAW_DIFFERENCE, 0.0)
        if difference <= NAMED:
            return
        text = (
            f"step {step}: the log-probabilities of the answers are {difference:.2g} nats a token away from those that "
            "the training computes"
        )
        if difference > REFUSED:
            raise FrameworkError(f"{text}: the answers were drawn with other weights than those that are trained")
        if not self.warned:
            log.warning("%s: it rounds differently, and trainer.dtype=fp32 does not", text)
        self.warned = True

    def state(self) -> dict[str, Any]:
        """Return what a training that resumes here needs, as plain values."""
        return {
            "silent": self.silent,
            "shown": [asdict(sample) for sample in self.shown],
            "waiting": {step: [_plain(group) for group in groups] for step, groups in self.waiting.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` returned."""
        self.silent, self.shown = state["silent"], [Sample(**sample) for sample in state["shown"]]
        self.waiting = {step: [_group(each) for each in groups] for step, groups in state["waiting"].items()}


def _with_old(group: TokenGroup, scored: Mapping[int, torch.Tensor]) -> TokenGroup:
    old = tuple(scored[id(row)].float().cpu().numpy()[:, None] for row in group.rows)
    return GroupedRows(group.rows, group.roles, group.facts, {**group.arrays, OLD_LOG_PROBS: old})


def _plain(group: TokenGroup) -> dict[str, Any]:
    return {
        "rows": [(row.input_ids, row.labels, row.where) for row in group.rows],
        "roles": [int(role) for role in group.roles],
        "facts": dict(group.facts),
        "arrays": {name: [torch.from_numpy(np.array(each)) for each in rows] for name, rows in group.arrays.items()},
    }


def _group(plain: Mapping[str, Any]) -> TokenGroup:
    return GroupedRows(
        tuple(TokenRow(*row) for row in plain["rows"]),
        tuple(Role(role) for role in plain["roles"]),
        plain["facts"],
        {name: tuple(each.numpy() for each in rows) for name, rows in plain["arrays"].items()},
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _differ(values: Iterable[float]) -> bool:
    known = [value for value in values if not math.isnan(value)]
    return bool(known) and max(known) > min(known)


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def _std(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if len(known) > 1 else math.nan
