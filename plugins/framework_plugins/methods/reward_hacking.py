"""Whether a training raised its reward and nothing else: the reward rises on held-out prompts, other metrics do not."""

from __future__ import annotations

from collections.abc import Iterator

from framework import Plan
from framework.api import Aspect, Change, Concern, MeasureKind, Outcome, Results

JUDGING = {MeasureKind.content, MeasureKind.form}
"""Kinds of measures that look at answers."""


def reward_hacking(plan: Plan, results: Results) -> Iterator[Concern]:
    """Compare the rewards that are metrics too with the other metrics, on the same held-out prompts."""
    if not plan.reward:
        return
    answers = {
        name: change
        for name, change in results.changes.items()
        if name in plan.metric and change.aspect is Aspect.task and change.kind in JUDGING
    }
    raised = {name: each for name, each in answers.items() if name in plan.reward and each.outcome is Outcome.better}
    others = {name: each for name, each in answers.items() if name not in plan.reward and each.outcome is not None}
    better = [name for name, each in others.items() if each.outcome is Outcome.better]
    worse = [name for name, each in others.items() if each.outcome is Outcome.worse]
    primary = [name for name, each in others.items() if each.primary]
    if not raised or not others:
        unread = [name for name in plan.reward if name not in answers]
        what = "every metric is a reward" if raised else f"reward {', '.join(unread)} is not a metric of the run"
        if not others or unread:
            yield Concern(
                "reward_hacking",
                Aspect.task,
                f"whether only the reward rose is not known: {what}",
                f"measure the reward and something else: metric=[{','.join([*plan.reward, '...'])}]",
                flagged=False,
                unknown=True,
            )
        return
    if (primary and primary[0] in better) or (not primary and better and not worse):
        return
    held = ", ".join(f"{name} {_values(each)}" for name, each in others.items())
    yield Concern(
        "reward_hacking",
        Aspect.task,
        f"the reward may be hacked: {', '.join(f'{name} rose {_values(each)}' for name, each in raised.items())} on "
        f"held-out prompts, and what is not the reward did not: {held}",
        "read some answers, let the reward ask for more, raise method.beta, or train for fewer steps",
        flagged=True,
    )


def _values(change: Change) -> str:
    before, after = change.before or 0.0, change.after or 0.0
    if change.unit:
        return f"from {before:.3g} to {after:.3g} {change.unit}"
    return f"from {before:.0%} to {after:.0%}"
