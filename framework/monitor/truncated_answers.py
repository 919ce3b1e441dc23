"""Answers that never stop: the share that the limit of tokens had to cut off, beside that of the base model."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api.records import EvalResult, Measure, Sample, TrainingIssue
from framework.api.schema import Action

KIND = "truncated_answers"
CHECK_END = (
    "check the learned end of the rows with stages=[data], and whether model.chat_template is the one of the model"
)
MORE_STEPS = f"The model does not end its answers reliably: train for more steps. If that does not help, {CHECK_END}"
LOST_END = f"The base model ends more of its answers, so more steps can make it worse: {CHECK_END}"
LOWER_RATE = "More steps would make it worse: lower trainer.learning_rate, or train for fewer steps"
LEAST_COUNT, LEAST_SHARE = 2, 0.2
"""Answers that do not stop, and their share, from which it is an issue: one prompt may ask for more than the limit."""


def count_truncated(samples: Sequence[Sample]) -> int:
    """Count the answers that did not end by themselves and are longer than what they should be.

    One that was cut off before it was as long as its reference tells nothing: the limit is too low for it.
    """
    return sum(
        not sample.stopped and (sample.reference is None or len(sample.answer) > len(sample.reference))
        for sample in samples
    )


def truncation_issues(
    action: Action,
    after: EvalResult,
    before: EvalResult | None,
    step: int,
    issues: Sequence[TrainingIssue] = (),
    eval_loss: float | None = None,
) -> list[TrainingIssue]:
    """Return the issue with answers of the trained model, if there is one.

    Args:
        action: `health.truncated_answers`; what it says of stopping is done by who follows the training.
        after: an evaluation of the trained model.
        before: one of the base on the same prompts, where there was one.
        step: how long the model has been trained.
        issues: what else went wrong in the training.
        eval_loss: the validation loss of the trained model, if `after` does not have it.
    """
    total = len(after.samples)
    count = count_truncated(after.samples)
    if action is Action.ignore or count < LEAST_COUNT or count < LEAST_SHARE * total:
        return []
    text = f"{count} of {total} answers did not end by themselves"
    advice = MORE_STEPS
    if before is not None and before.samples:
        base = count_truncated(before.samples)
        text += f", and {base} of {len(before.samples)} of the base model"
        if base * total < count * len(before.samples):
            advice = LOST_END
    was = before.metrics.get(Measure.EVAL_LOSS) if before else None
    now = after.metrics.get(Measure.EVAL_LOSS, eval_loss)
    if was is not None and now is not None and not now <= was:  # NaN too
        text += f"; the validation loss went from {was:.3g} to {now:.3g}"
        advice = LOWER_RATE
    if kinds := [issue.kind for issue in issues if issue.kind != KIND]:
        advice = f"First follow the advice about {kinds[-1]}: more steps with these settings would not help"
    return [TrainingIssue(KIND, step, text, advice, action)]
