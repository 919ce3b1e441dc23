"""Answers that never stop: the share that the limit of tokens had to cut off, beside that of the base model."""

from __future__ import annotations

from collections.abc import Sequence

from framework.api.records import EvalResult, Sample, TrainingIssue
from framework.api.schema import Action

KIND = "truncated_answers"
RECOMMENDATION = (
    "The model does not end its answers reliably: train for more steps. If that does not help, check the learned end "
    "of the rows with stages=[data], and whether model.chat_template is the one of the model"
)
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


def truncation_issues(action: Action, after: EvalResult, before: EvalResult | None, step: int) -> list[TrainingIssue]:
    """Return the issue with answers of the trained model, if there is one.

    Args:
        action: `health.truncated_answers`; what it says of stopping is done by who follows the training.
        after: an evaluation of the trained model.
        before: one of the base on the same prompts, where there was one.
        step: how long the model has been trained.
    """
    asked = len(after.samples)
    count = count_truncated(after.samples)
    if action is Action.ignore or count < LEAST_COUNT or count < LEAST_SHARE * asked:
        return []
    text = f"{count} of {asked} answers did not end by themselves"
    if before is not None and before.samples:
        text += f", and {count_truncated(before.samples)} of {len(before.samples)} of the base model"
    return [TrainingIssue(KIND, step, text, RECOMMENDATION, action)]
