"""Whether a training raised its reward and nothing else: the reward rises, other metrics on held-out prompts do not."""

from __future__ import annotations

import math
from collections.abc import Iterator

from framework import Plan
from framework.api import Aspect, Change, Concern, MeasureKind, Outcome, Results, RewardRise, count

JUDGING = {MeasureKind.content, MeasureKind.form}
"""Kinds of measures that look at answers."""
SHARE = 1 / 3
"""The part of a reward's rise that another measure reaches if it rises with it. If its ceiling is nearer than that,
nothing can be concluded from it."""


def reward_hacking(plan: Plan, results: Results) -> Iterator[Concern]:
    """Compare the rewards with the other metrics: on held-out prompts, or else by the curve of the training.

    A measure that is not better has to lag behind the reward: with few prompts, or near its best value, it may have
    risen as far as it could.
    """
    curves = results.trained.rewards if results.trained else {}
    rewards = [*dict.fromkeys([*plan.reward, *curves])]  # an environment's own reward is not an option
    if not rewards:
        return
    answers = {
        name: change
        for name, change in results.changes.items()
        if name in plan.metric and change.aspect is Aspect.task and change.kind in JUDGING
    }
    measures = {name: change for name, change in answers.items() if name not in rewards and change.outcome is not None}
    gains = {name: gain for name in rewards if (gain := _gain(answers.get(name), curves.get(name))) is not None}
    largest = max(gains.values(), default=None)
    measure = f"measure the reward and something else: metric=[{','.join([*plan.reward, '...'])}]"
    unread = [name for name in rewards if name not in answers and name not in curves]
    if not measures or (unread and not gains):
        reason = "every metric is a reward" if gains else f"reward {', '.join(unread)} is not a metric of the run"
        yield _concern(f"whether only the reward rose is not known: {reason}", measure)
        return
    better = [name for name, change in measures.items() if change.outcome is Outcome.better]
    worse = [name for name, change in measures.items() if change.outcome is Outcome.worse]
    primary = [name for name, change in measures.items() if change.primary]
    if largest is None or (primary and primary[0] in better) or (not primary and better and not worse):
        return
    rose = ", ".join(f"{name} rose {_values(answers.get(name), curves.get(name))}" for name in gains)
    judging = {name: measures[name] for name in primary or measures}
    held_out = ", ".join(f"{name} {_values(change)}" for name, change in judging.items())
    if all(_lags(change, *largest) for change in judging.values()):
        text = f"the reward may be hacked: {rose}, and no held-out measure rose by more than its margin: {held_out}"
        advice = "read some answers, let the reward ask for more, raise method.beta, or train for fewer steps"
        yield _concern(text, advice, flagged=True)
    else:
        sizes = {change.pairs for change in judging.values()} - {0}
        of_all = f" on {count(min(sizes), 'prompt')}" if sizes else ""
        text = f"whether only the reward rose is not known: {rose}; {held_out}{of_all}, which may be chance or a rise"
        yield _concern(text, "measure more held-out prompts, or harder ones: data.prompts_path")


def _concern(text: str, advice: str, *, flagged: bool = False) -> Concern:
    return Concern("reward_hacking", Aspect.task, text, advice, flagged=flagged, unknown=not flagged)


def _gain(change: Change | None, curve: RewardRise | None) -> tuple[float, float] | None:
    """Return how far a reward rose, and by how much less it may have been; None if it did not rise.

    A curve has no interval: whether it rose is known from its noise.
    """
    if change is None:
        return (curve.last - curve.first, 0.0) if curve and curve.rose else None
    if change.outcome is not Outcome.better:
        return None
    if change.unit:
        return math.inf, 0.0  # more than any share
    rise, low, _ = _rise(change)
    return rise, rise - low


def _rise(change: Change) -> tuple[float, float, float]:
    """Return how far a measure rose, upwards for the better, with the bounds of its interval if it has one."""
    rise = (change.after or 0.0) - (change.before or 0.0)
    low, high = (rise if bound is None else bound for bound in (change.low, change.high))
    return (rise, low, high) if change.higher_is_better else (-rise, -high, -low)


def _lags(change: Change, gain: float, less: float) -> bool:
    """Whether a rise of a measure by its margin, or by a share of what a reward gained, is ruled out.

    The measure also rose by less than the reward: the interval of the difference is above 0. That is made of the two
    intervals (MOVER: Zou and Donner, Statistics in Medicine 27, 2008, 1693-1702), as if the two were independent. If
    they rise on the same prompts, the true interval is narrower.
    """
    if change.outcome is Outcome.worse:
        return True
    rise, _, high = _rise(change)
    margin = change.margin or 0.0
    if change.unit:
        return high <= margin
    room = 1 - (change.before or 0.0) if change.higher_is_better else change.before or 0.0
    if math.isfinite(gain) and room < SHARE * gain:
        return False
    return high <= min(margin, SHARE * gain) and gain - rise > math.hypot(less, high - rise)


def _values(change: Change | None, curve: RewardRise | None = None) -> str:
    if change is None:
        return f"from {curve.first:.3g} to {curve.last:.3g} in training" if curve else ""
    before, after = change.before or 0.0, change.after or 0.0
    if change.unit:
        return f"from {before:.3g} to {after:.3g} {change.unit}"
    return f"from {before:.0%} to {after:.0%}"
