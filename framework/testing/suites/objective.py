"""The suites of `loss=` and `method=`. They need torch, which the objectives of a plugin bring along."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from framework.api.protocols import LossValue, Method, Objective, ReadsBeside, TokenScores
from framework.api.records import Example, Message, TokenGroup
from framework.api.schema import Role
from framework.api.selection import Selection
from framework.testing.suites.base import Suite, expect
from framework.util.errors import FrameworkError

DIFFERENCE = 1e-4
"""By how much a log-probability is changed to see a slope."""
EXAMPLES = [
    Example(
        (Message("user", f"What is {n} and 1?"), Message("assistant", f"It is {n + 1}.")),
        "chatml",
        f"row {n}",
        rejected=(Message("assistant", "Who knows?"),),
    )
    for n in range(3)
]
TOLERANCE = 1e-6


def _torch() -> Any:
    """Return torch, of which the core knows nothing: an objective takes its tensors."""
    return importlib.import_module("torch")


class ObjectiveSuite(Suite):
    """What every objective has to do, that of a loss and that of a method.

    Attributes:
        groups: groups with the rows, facts and arrays that it reads; at least three, of different lengths.
    """

    groups: ClassVar[Sequence[TokenGroup]] = ()

    def objective(self, folder: Path) -> Objective | None:
        """Return the objective; None if a method brings none."""
        raise NotImplementedError

    def value(self, objective: Objective, policy: Sequence[Sequence[Any]], part: slice = slice(None)) -> LossValue:
        """Return the loss of some of the groups, as part of a step with all of them."""
        scores = self._scores(objective, self.groups, policy)
        extra_groups = objective.beside(self.groups) if isinstance(objective, ReadsBeside) else ()
        extra_scores = (
            self._scores(objective, extra_groups, self.policy(objective, extra_groups)) if extra_groups else None
        )
        reference = scores.reference and scores.reference[part]
        step_scores = replace(
            scores, groups=self.groups[part], policy=policy[part], reference=reference, beside=extra_scores
        )
        return objective(step_scores)

    def _scores(
        self, objective: Objective, groups: Sequence[TokenGroup], policy: Sequence[Sequence[Any]]
    ) -> TokenScores:
        tokens = sum(len(row.learned) for group in groups for row in group.rows)
        reference = [[row * 1.25 for row in rows] for rows in self.policy(objective, groups)]
        reference_scores = reference if objective.needs_reference else None
        return TokenScores(groups, policy, reference_scores, tokens, len(groups), groups)

    def policy(self, objective: Objective, groups: Sequence[TokenGroup] | None = None) -> list[list[Any]]:
        """Return log-probabilities of the rows, in double precision, each another one."""
        torch = _torch()
        draw, log_probs = torch.Generator().manual_seed(0), []
        for group in self.groups if groups is None else groups:
            ids = objective.ids(group)
            shapes = [(len(row.learned),) for row in group.rows] if ids is None else [array.shape for array in ids]
            log_probs.append(
                [-torch.rand(tuple(shape), generator=draw, dtype=torch.float64).mul(3).add(0.05) for shape in shapes]
            )
        return log_probs

    def test_it_is_a_scalar_with_the_slopes_that_it_has(self, tmp_path: Path) -> None:
        """The value is finite, autograd gives the slope that a small change shows, and the metrics are numbers."""
        objective = self.objective(tmp_path)
        if objective is None:
            return
        expect(len(self.groups) > 2, f"{type(self).__name__}.groups is too short: give three groups or more")  # noqa: PLR2004 - as it says
        policy = self.policy(objective)
        leaf = policy[0][0].requires_grad_()
        result = self.value(objective, policy)
        loss = float(result.value.detach()) if not result.value.shape else math.nan
        expect(not result.value.shape, f"the loss has the shape {tuple(result.value.shape)}, and has to be a scalar")
        expect(math.isfinite(loss), f"the loss is {loss}")
        numbers = all(math.isfinite(_torch().as_tensor(value).detach()) for value in result.metrics.values())
        expect(numbers, f"the metrics are not finite: {dict(result.metrics)}")
        result.value.backward()
        expect(leaf.grad is not None, "the loss does not depend on the log-probabilities")
        position = (0,) * leaf.dim()
        values = []
        for change in (DIFFERENCE, -DIFFERENCE):
            moved = [[row.detach().clone() for row in rows] for rows in policy]
            moved[0][0][position] += change
            values.append(float(self.value(objective, moved).value))
        slope = (values[0] - values[1]) / (2 * DIFFERENCE)
        close = math.isclose(slope, float(leaf.grad[position]), rel_tol=1e-3, abs_tol=1e-6)
        expect(close, f"autograd gives the slope {float(leaf.grad[position])}, a small change shows {slope}")

    def test_a_step_is_the_same_however_it_is_cut(self, tmp_path: Path) -> None:
        """The values and metrics of parts of a step add up to those of the whole, unless it asks for the whole."""
        objective = self.objective(tmp_path)
        if objective is None or objective.whole_step:
            return
        policy = self.policy(objective)
        full_step = self.value(objective, policy)
        for cut in range(1, len(self.groups)):
            parts = [self.value(objective, policy, slice(0, cut)), self.value(objective, policy, slice(cut, None))]
            added = sum(float(part.value) for part in parts)
            is_equal = math.isclose(added, float(full_step.value), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
            expect(
                is_equal, f"the whole step has the loss {float(full_step.value)}, cut after {cut} groups it is {added}"
            )
            for name in full_step.metrics:
                total, expected = (
                    sum(float(part.metrics.get(name, 0)) for part in parts),
                    float(full_step.metrics[name]),
                )
                is_equal = math.isclose(total, expected, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
                expect(is_equal, f"{name} of the whole step is {expected}, cut after {cut} groups it is {total}")


class LossSuite(ObjectiveSuite):
    """What every loss has to do; `groups` as in `ObjectiveSuite`."""

    group = "loss"

    def objective(self, folder: Path) -> Objective:
        """Return the loss."""
        loss: Objective = self.create(folder)
        return loss

    def test_it_is_what_its_config_says(self, tmp_path: Path) -> None:
        """Objective and config agree on what the plan has to know."""
        choice: Selection = self.choice(tmp_path)
        objective: Objective = choice.create()
        for name in ("linear", "needs_reference", "whole_step"):
            actual, declared = getattr(objective, name), getattr(choice.config, name)
            expect(actual == declared, f"{name} is {actual}, and {type(choice.config).__name__} says {declared}")

    def test_a_linear_loss_is_linear(self, tmp_path: Path) -> None:
        """Its slopes do not depend on the log-probabilities; of a plain one they are all the same."""
        torch = _torch()
        choice: Selection = self.choice(tmp_path)
        objective: Objective = choice.create()
        if not objective.linear:
            return
        slopes = []
        for factor in (1.0, 0.0):
            policy = [[(row * factor).requires_grad_() for row in rows] for rows in self.policy(objective)]
            flat = [*itertools.chain.from_iterable(policy)]
            slopes.append(torch.autograd.grad(self.value(objective, policy).value, flat))
        alike = all(torch.allclose(left, right) for left, right in zip(*slopes, strict=True))
        expect(alike, "linear=True, but the slopes change with the log-probabilities")
        if choice.config.plain:
            every = torch.cat(slopes[0])
            mean = torch.full_like(every, -1 / len(every))
            expect(torch.allclose(every, mean), "plain is set, yet it is not the mean over all learned tokens")


class MethodSuite(ObjectiveSuite):
    """What every method has to do; one with an objective of its own has `groups`, as in `ObjectiveSuite`.

    Attributes:
        examples: rows that it can use.
        refused: rows that it cannot, with a part of what it says.
    """

    group = "method"
    examples: ClassVar[Sequence[Example]] = EXAMPLES
    refused: ClassVar[Sequence[tuple[Example, str]]] = ()

    def objective(self, folder: Path) -> Objective | None:
        """Return what the method brings."""
        method: Method = self.create(folder)
        return method.objective

    def test_it_makes_the_rows_that_its_config_names(self, tmp_path: Path) -> None:
        """Each example passes `check` and gives a row or more, of roles in the config, each ending with an answer."""
        choice: Selection = self.choice(tmp_path)
        method: Method = choice.create()
        declared, objective = choice.config.own_objective, method.objective
        expect(declared == (objective is not None), f"objective is {objective}, and own_objective={declared}")
        for example in self.examples:
            method.check(example)
            conversations = method.conversations(example)
            expect(conversations, f"{example.where}: no row is made of it")
            for role, conversation in conversations:
                expect(role in choice.config.roles, f"{example.where}: the role {role!r} is not in `roles`")
                ends = conversation.text is not None or conversation.messages[-1].role == "assistant"
                expect(ends or role is Role.prompt, f"{example.where}: the {role.name} row ends without an answer")

    def test_it_refuses_what_it_cannot_use(self, tmp_path: Path) -> None:
        """A row without turns, and each of `refused`, is refused, and the message says why."""
        method: Method = self.create(tmp_path)
        for example, why in ((Example((), "none"), ""), *self.refused):
            try:
                method.check(example)
            except FrameworkError as error:
                expect(why in str(error), f"{example} is refused with {error}, which says nothing of {why!r}")
            else:
                raise AssertionError(f"{example} is not refused")

    def test_its_cost_covers_its_rows(self, tmp_path: Path) -> None:
        """`cost` tells as many rows as a group has on average, and no negative numbers."""
        choice: Selection = self.choice(tmp_path)
        method: Method = choice.create()
        cost, sizes = choice.config.cost(), [len(method.conversations(example)) for example in self.examples]
        expect(cost.rows >= sum(sizes) / len(sizes), f"cost tells {cost.rows:g} rows a group, there are {sizes}")
        expect(min(cost.more_forwards, cost.rollout_tokens) >= 0, f"cost is negative: {cost}")
