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
    tokens = [(base.tokens, tuned.tokens) for base, tuned in pairs]
    base_total, tuned_total = (sum(side) for side in zip(*tokens, strict=True)) if tokens else (0, 0)
    if not base_total or tuned_total < LONGER * base_total:
        return
    longer = sum(tuned > base for base, tuned in tokens)
    for name, choice in plan.metric.items():
        if not isinstance(choice.config, JudgeConfig):
            continue
        # Its grades, or its comparisons with the base.
        changes = {measure: change for measure, change in results.changes.items() if measure in {name, f"{name}_wins"}}
        preferred = [measure for measure, change in changes.items() if change.outcome is Outcome.better]
        if preferred:
            text = (
                f"{preferred[0]} may reward length: {longer} of {len(tokens)} answers are longer than the base's, "
                f"{tuned_total / base_total:.1f} times on average, and judges prefer longer answers"
            )
            advice = "To tell, add a metric that compares with references, such as token_f1, or limit max_new_tokens"
            yield Concern(f"{name}_length", Aspect.task, text, advice, flagged=True)
