"""`method=decide`: the right option of a row becomes likelier than its other options.

All options of a row are branches of its prompt, so that one pass has the log-probability of each, s = log pi(option),
to the token that ends the turn: an option that is the beginning of another is a different event. The softmax of s is
what the model believes, and a proper score of it is the loss. Their sum, the mass on the options, is left free by that:
a second term, -log of the mass, keeps the model answering with an option where it writes freely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from numpy.typing import NDArray

from framework import FrameworkError
from framework.api import Example, Measure, MeasureKind, Model
from framework.api.training import LossValue, Method, Objective, Role, TokenGroup, TokenScores
from framework_plugins.decide.config import ACCURACY, LOG_SCORE, MASS, PLACE, WEIGHT, DecideConfig, Score

Tensor = torch.Tensor


class Decide(Method):
    """Learns to choose one of a row's options; the method, and its objective."""

    linear = whole_step = needs_reference = False

    def __init__(self, config: DecideConfig) -> None:
        self.config = config
        self.objective: Objective | None = self

    def check(self, example: Example) -> None:
        """Refuse a row without options, or with an answer that is none of them."""
        example.check_answered()
        needs = "method=decide chooses one of a row's options, and this row"
        if not example.options:
            raise FrameworkError(f"{needs} has none: set format=decide, or give Example.options in a format of yours")
        if len(set(example.options)) < max(2, len(example.options)):
            raise FrameworkError(f"{needs} has {list(example.options)}: give two or more that are different")
        if example.messages[-1].content not in example.options:
            raise FrameworkError(f"{needs} has an answer that is not among them: {example.messages[-1].content!r}")

    def conversations(self, example: Example) -> Sequence[tuple[Role, Example]]:
        """Return the conversation with each option as its answer, the right one first."""
        right = example.messages[-1].content
        weight = self.config.class_weights.get(right, 1.0)
        facts = {**example.facts, WEIGHT: weight, PLACE: example.options.index(right)}

        def answered(option: str) -> Example:
            answer = replace(example.messages[-1], content=option)
            return replace(example, messages=(*example.messages[:-1], answer), options=(), facts=facts)

        others = [(Role.rejected, answered(option)) for option in example.options if option != right]
        return [(Role.answer, answered(right)), *others]

    def measures(self, model: Model, groups: Sequence[TokenGroup]) -> Mapping[str, Measure]:
        """Measure the mean log-probability of the right option among all, how often it leads, and their mass."""
        groups = [group for group in groups if Role.rejected in group.roles]
        if not groups:
            return {}
        scored = iter(model.score([row for group in groups for row in group.rows]))
        sums = [torch.tensor([sum(next(scored).log_probs) for _ in group.rows]).double() for group in groups]
        right = [group.roles.index(Role.answer) for group in groups]
        items = {
            LOG_SCORE: [float(row.log_softmax(0)[at]) for row, at in zip(sums, right, strict=True)],
            ACCURACY: [float(row.argmax() == at) for row, at in zip(sums, right, strict=True)],
            MASS: [float(row.exp().sum()) for row in sums],
        }
        where = [group.where for group in groups]
        return {
            name: Measure(
                sum(values) / len(values),
                [*values],
                higher_is_better=True,
                unit="nats" if name == LOG_SCORE else "",
                where=where,
                kind=MeasureKind.loss,
            )
            for name, values in items.items()
        }

    def ids(self, group: TokenGroup) -> Sequence[NDArray[Any]] | None:
        """Read the learned tokens."""
        del group
        return None

    def __call__(self, scores: TokenScores) -> LossValue:
        """Return the weighted mean of the score over the options, and of the loss of their mass."""
        losses, right, masses = list[Tensor](), list[Tensor](), list[Tensor]()
        for group, rows in zip(scores.groups, scores.policy, strict=True):
            sums = torch.stack([row.sum() for row in rows])
            place = group.roles.index(Role.answer)
            mass = sums.logsumexp(0)
            loss = self._score(sums, place, int(group.facts.get(PLACE, place))) - self.config.mass_weight * mass
            losses.append(group.facts.get(WEIGHT, 1.0) * loss)
            right.append((sums.detach().argmax() == place).to(sums))
            masses.append(mass.detach().exp())
        metrics = {"options/accuracies": right, "options/mass": masses}
        return LossValue(
            torch.stack(losses).sum() / scores.count,
            {name: torch.stack(values).sum() / scores.count for name, values in metrics.items()},
        )

    def _score(self, sums: Tensor, right: int, place: int) -> Tensor:
        """Return the loss of the probabilities of a row's options.

        Args:
            sums: their log-probabilities, those of the wrong ones in the order of the options.
            right: which of them is right.
            place: the place of that one among the options.
        """
        smoothing = self.config.label_smoothing
        target = torch.full_like(sums, smoothing / len(sums))
        target[right] += 1 - smoothing
        if self.config.score is Score.brier:
            return ((sums.softmax(0) - target) ** 2).sum()
        if self.config.score is Score.ranked:
            order = [index for index in range(len(sums)) if index != right]
            order.insert(place, right)
            return ((sums.softmax(0) - target)[order].cumsum(0) ** 2).sum()
        return -(target * sums.log_softmax(0)).sum()
