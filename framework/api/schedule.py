"""When a training is validated; backends use this module, so that all of them validate at the same steps."""

from __future__ import annotations

__all__ = ["is_due"]


def is_due(eval_steps: int | None, step: int, epoch_steps: int, total_steps: int, *, validated: bool) -> bool:
    """Whether a validation comes after a step.

    Args:
        eval_steps: `trainer.eval_steps`.
        step: the step, from 1.
        epoch_steps: the steps of an epoch.
        total_steps: the steps of the training.
        validated: whether there was a validation before. Only then is there one at the end of the training: with
            nothing to choose from, the evaluation that follows is enough.
    """
    if step >= total_steps:
        return validated
    return step % (eval_steps or epoch_steps) == 0
