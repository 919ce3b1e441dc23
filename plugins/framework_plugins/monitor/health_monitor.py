"""Takes the log entries of a training, one after the other, and returns the issues that the rules find."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from framework import Plan
from framework.api import Action, Step, TrainingIssue
from framework_plugins.monitor.evidence import Symptom
from framework_plugins.monitor.gradients import ExplodingGradient, NotANumber
from framework_plugins.monitor.losses import Oscillation, Plateau, RisingLoss, Spike
from framework_plugins.monitor.preferences import FallingLikelihood
from framework_plugins.monitor.recommendations import recommendation
from framework_plugins.monitor.rewards import DrawnAnswers, FallingReward
from framework_plugins.monitor.validation import RisingEvalLoss

MAX_REPORTS = 3
"""How often a run tells one kind: after that it is known."""
REPORTED_ONCE = frozenset({TrainingIssue.NAN, "plateau", "falling_likelihood", "falling_reward", "drawn_answers"})
"""Kinds that are reported once: they concern all earlier entries, or all later ones."""


class Rule(Protocol):
    """One rule."""

    def check(self, step: Step) -> Symptom | None:
        """Return the symptom; None if there is none."""

    def reset(self) -> None:
        """Forget the earlier entries: the problem was reported, or the learning rate has changed."""


class HealthMonitor:
    """Monitors one training.

    Args:
        plan: the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        training, config, suited = plan.training, plan.settings.health, plan.method.config.health_rules
        compares = suited is not None and "falling_likelihood" in suited
        rules: Mapping[str, tuple[Action, Rule]] = {
            TrainingIssue.NAN: (config.nan, NotANumber()),
            "spike": (config.spike, Spike()),
            "rising_loss": (config.rising_loss, RisingLoss()),
            "oscillation": (config.oscillation, Oscillation(plan.warmup)),
            "plateau": (config.plateau, Plateau(plan.warmup)),
            "exploding_gradient": (config.exploding_gradient, ExplodingGradient(training.max_grad_norm, plan.warmup)),
            "rising_eval_loss": (config.rising_eval_loss, RisingEvalLoss()),
            "falling_likelihood": (
                config.falling_likelihood,
                FallingLikelihood(plan.method.config.divergence_weight() or 1.0),
            ),
            # A reward that compares with a reference begins at 0.
            "falling_reward": (config.falling_reward, FallingReward(from_zero=compares)),
            "drawn_answers": (config.drawn_answers, DrawnAnswers()),
        }
        self.rules = {
            kind: pair
            for kind, pair in rules.items()
            if pair[0] is not Action.ignore and (suited is None or kind in suited)
        }
        self.reported = dict.fromkeys(self.rules, 0)
        self.at = 0

    def check(self, step: Step) -> list[TrainingIssue]:
        """Return the problems after this log entry, in the order of the settings.

        An entry that is sent again, with the validation at the end of a training that was stopped, is checked only for
        the validation; and losses that are not numbers only for not being numbers.
        """
        again, self.at = step.step == self.at, step.step
        issues = []
        for kind, (action, rule) in self.rules.items():
            if again and kind != "rising_eval_loss":
                continue
            if kind != TrainingIssue.NAN and not math.isfinite(step.loss):
                continue
            if self.reported[kind] < (1 if kind in REPORTED_ONCE else MAX_REPORTS) and (symptom := rule.check(step)):
                self.reported[kind] += 1
                advice = recommendation(symptom.cause or kind, self.plan, step.step)
                issues.append(TrainingIssue(kind, step.step, symptom.text + self._reaction(action), advice, action))
        for issue in issues:
            # Or the same entries would be reported again after each of the next steps.
            self.rules[issue.kind][1].reset()
        if any(issue.action is Action.lower for issue in issues):
            self.reset()
        return issues

    def _reaction(self, action: Action) -> str:
        """Return the reaction of the run, as the end of a sentence."""
        if action is Action.lower:
            return f"; from here on, the learning rate is {self.plan.settings.health.lower_to:g} times what it would be"
        return "; the training stops" if action is Action.stop else ""

    def reset(self) -> None:
        """Forget the earlier entries: the learning rate has changed."""
        for _, rule in self.rules.values():
            rule.reset()
