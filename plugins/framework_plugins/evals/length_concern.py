"""Whether a judge may have rewarded the length of the answers."""

from __future__ import annotations

from collections.abc import Iterator

from framework import Plan
from framework.api import Aspect, Concern, Outcome, Results
from framework_plugins.evals.config import JudgeConfig

LONGER = 1.2
"""Times the length of the base's answers from which a judge's preference for length may matter."""


def length_concerns(plan: Plan, results: Results) -> Iterator[Concern]:
    """Give a concern for each judge that prefers the trained model, whose answers are longer: judges prefer length."""
    before = {sample.prompt: sample for sample in results.before.samples} if results.before else {}
    pairs = [(before[after.prompt], after) for after in results.after.samples if after.prompt in before]
    tokens = [(one.tokens, two.tokens) for one, two in pairs]
    first, last = (sum(side) for side in zip(*tokens, strict=True)) if tokens else (0, 0)
    if not first or last < LONGER * first:
        return
    longer = sum(two > one for one, two in tokens)
    for name, choice in plan.metric.items():
        if not isinstance(choice.config, JudgeConfig):
            continue
        # Its grades, or its comparisons with the base.
        own = {each: change for each, change in results.changes.items() if each in {name, f"{name}_wins"}}
        preferred = [each for each, change in own.items() if change.outcome is Outcome.better]
        if preferred:
            text = (
                f"{preferred[0]} may reward length: {longer} of {len(tokens)} answers are longer than the base's, "
                f"{last / first:.1f} times on average, and judges prefer longer answers"
            )
            advice = "To tell, add a metric that compares with references, such as token_f1, or limit max_new_tokens"
            yield Concern(f"{name}_length", Aspect.task, text, advice, flagged=True)
