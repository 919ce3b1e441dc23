"""Whether a training of preferences went past its aim: the margin grows, and the answers get worse or longer."""

from __future__ import annotations

from collections.abc import Iterator

from framework import Plan
from framework.api import Aspect, Concern, Measure, Outcome, Results
from framework_plugins.methods.config import KtoConfig, PreferenceConfig

LONGER = 1.5
"""Times the length of the base's answers from which the growth is named: judges, and so pairs, prefer length."""
FAR = 0.5
"""Nats a token from the base, at answers to general instructions, from which the distance is named."""
DIVERGENCE = "general_divergence"
"""What `evaluator=forgetting` measures of it."""


def over_optimization(plan: Plan, results: Results) -> Iterator[Concern]:
    """Name the signs of over-optimization that were measured."""
    method = plan.method.config
    if not isinstance(method, PreferenceConfig):
        return
    labels = isinstance(method, KtoConfig)
    if signs := [*_signs(results, "good" if labels else "chosen")]:
        steps = [f"raise method.beta={method.beta:g}"] if hasattr(method, "beta") else []
        steps += [f"lower trainer.learning_rate={plan.training.learning_rate:g}", "train for fewer steps"]
        if not labels:  # which has no pairs
            steps.append("learn the chosen answers too, method=dpo method.loss_type=[sigmoid,sft]")
        yield Concern(
            "over_optimization",
            Aspect.task,
            f"the preferences may be over-optimized: {'; '.join(signs)}",
            f"{', '.join(steps[:-1])}, or {steps[-1]}",
            flagged=True,
        )


def _signs(results: Results, answers: str) -> Iterator[str]:
    loss, divergence = results.changes.get(Measure.EVAL_LOSS), results.changes.get(DIVERGENCE)
    if loss and loss.outcome is Outcome.worse and loss.before is not None and loss.after is not None:
        yield f"{answers} answers became less likely, {loss.before:.2f} to {loss.after:.2f} nats a token"
    if divergence and divergence.after is not None and divergence.after > FAR:
        yield f"the model is {divergence.after:.2f} nats a token from its base at general instructions"
    before = {sample.prompt: sample.tokens for sample in results.before.samples} if results.before else {}
    lengths = [(before[sample.prompt], sample.tokens) for sample in results.after.samples if sample.prompt in before]
    base_total, total = sum(base_length for base_length, _ in lengths), sum(length for _, length in lengths)
    if (
        base_total
        and total > LONGER * base_total
        and 2 * sum(length > base_length for base_length, length in lengths) > len(lengths)
    ):
        yield f"answers are {total / base_total:.1f} times as long as the base's"
