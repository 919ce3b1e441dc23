"""The monitor: takes the log entries of a training, one after the other, and returns the problems."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

from framework.api.plan import Plan
from framework.api.records import NAN, Step, Trouble
from framework.api.schema import Action
from framework_plugins.monitor.cures import cure
from framework_plugins.monitor.gradients import ExplodingGradient, NotANumber
from framework_plugins.monitor.losses import Oscillation, Plateau, RisingLoss, Spike
from framework_plugins.monitor.validation import RisingEvalLoss

MOST = 3
"""How often a run tells one kind: after that it is known."""
ONCE = frozenset({NAN, "plateau"})
"""Kinds that are reported once: they concern all earlier entries, or all later ones."""


class Sign(Protocol):
    """One rule."""

    def look(self, step: Step) -> str:
        """Say what is seen, in a sentence; empty where all is well."""

    def forget(self) -> None:
        """Forget the earlier entries: the problem was reported, or the learning rate has changed."""


class Watcher:
    """Watches one training.

    Args:
        plan: the run.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        training, config = plan.training, plan.health
        signs: Mapping[str, tuple[Action, Sign]] = {
            NAN: (config.nan, NotANumber()),
            "spike": (config.spike, Spike()),
            "rising_loss": (config.rising_loss, RisingLoss()),
            "oscillation": (config.oscillation, Oscillation(training.warmup_steps)),
            "plateau": (config.plateau, Plateau(training.warmup_steps)),
            "exploding_gradient": (config.exploding_gradient, ExplodingGradient(training.max_grad_norm)),
            "rising_eval_loss": (config.rising_eval_loss, RisingEvalLoss()),
        }
        self.signs = {kind: pair for kind, pair in signs.items() if pair[0] is not Action.ignore}
        self.told = dict.fromkeys(self.signs, 0)
        self.at = 0

    def check(self, step: Step) -> list[Trouble]:
        """Return what is wrong after this log entry, in the order of the settings.

        An entry that is sent again, with the validation at the end of a training that was stopped, is checked only for
        the validation; and losses that are not numbers only for not being numbers.
        """
        again, self.at = step.step == self.at, step.step
        found = []
        for kind, (action, sign) in self.signs.items():
            if again and kind != "rising_eval_loss":
                continue
            if kind != NAN and not math.isfinite(step.loss):
                continue
            if self.told[kind] < (1 if kind in ONCE else MOST) and (text := sign.look(step)):
                self.told[kind] += 1
                found.append(Trouble(kind, step.step, text + self._done(action), cure(kind, self.plan), action))
        for trouble in found:
            self.signs[trouble.kind][1].forget()
        if any(trouble.action is Action.lower for trouble in found):
            self.forget()
        return found

    def _done(self, action: Action) -> str:
        """Return what the run does about it, as the end of a sentence."""
        if action is Action.lower:
            return f"; the learning rate is {self.plan.health.lower_to:g} times what it would be from here on"
        return "; the training stops" if action is Action.stop else ""

    def forget(self) -> None:
        """Forget the earlier entries: the learning rate has changed."""
        for _, sign in self.signs.values():
            sign.forget()
