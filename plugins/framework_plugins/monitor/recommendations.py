"""Recommendations for each problem, from the field's tutorials, with the values of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from framework import Plan
from framework.api import count
from framework.api.training import NAN

TOO_LOW, TOO_HIGH = 2.0, 10.0
"""A rate that is wrong is changed by a factor between these."""
HIGH = 1e-3
"""A learning rate above it is high for any way to train: weights that it threw off learn nothing, as with a low one."""
CLIP = 1.0
"""The norm that gradients are clipped to as a rule."""
AT_ONCE = (
    "No weight has changed yet, so the model itself gives it: get its weights and its config.json again from their "
    "source, or set trainer.dtype=fp32"
)
"""For a loss that is not a number in the first step."""


def recommendation(kind: str, plan: Plan, step: int) -> str:
    """Return what to change, in one sentence or two, about a problem in this step."""
    return AT_ONCE if kind == NAN and step == 1 else RECOMMENDATIONS[kind](plan)


def _lower(plan: Plan) -> str:
    rate = plan.training.learning_rate
    return f"lower trainer.learning_rate from {rate:g} to between {rate / TOO_HIGH:g} and {rate / TOO_LOW:g}"


def _clip(plan: Plan) -> str:
    return f", set trainer.max_grad_norm={CLIP:g}" if plan.training.max_grad_norm > CLIP else ""


def _nan(plan: Plan) -> str:
    return f"{_first(_lower(plan))}{_clip(plan)}, and train in bf16 rather than fp16"


def _spike(plan: Plan) -> str:
    return f"Look at the rows of this step; if it happens again, {_lower(plan)}{_clip(plan)}"


def _too_high(plan: Plan) -> str:
    return f"The learning rate is too high: {_lower(plan)}"


def _oscillation(plan: Plan) -> str:
    steps = plan.training.gradient_accumulation_steps
    return f"{_too_high(plan)}, or raise trainer.gradient_accumulation_steps from {steps} to {2 * steps} or more"


def _plateau(plan: Plan) -> str:
    rate, rank = plan.training.learning_rate, getattr(plan.adapter.config, "r", None)
    if rate > HIGH:
        return f"The learning rate may have damaged the weights: {_lower(plan)}"
    low, high = (min(1.0, rate * factor) for factor in (TOO_LOW, TOO_HIGH))
    raised = f"Raise trainer.learning_rate from {rate:g} to between {low:g} and {high:g}"
    return f"{raised}, or adapter.r from {rank} to {2 * rank} or more" if rank else raised


def _exploding(plan: Plan) -> str:
    return f"{_first(_lower(plan))}{_clip(plan)}, or warm up for longer than {_warmup(plan)}"


def _warmup(plan: Plan) -> str:
    training = plan.training
    if training.warmup_ratio is not None:
        return f"trainer.warmup_ratio={training.warmup_ratio:g}"
    return f"trainer.warmup_steps={training.warmup(0)}"


def _memorized(plan: Plan) -> str:
    training = plan.training
    fewer = (
        "lower trainer.max_steps" if training.max_steps else f"fewer than {count(training.num_train_epochs, 'epoch')}"
    )
    stop = "" if training.early_stopping_patience else ", trainer.early_stopping_patience=2"
    return f"The rows are memorized: {fewer}{stop}, or more rows"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]


RECOMMENDATIONS: Mapping[str, Callable[[Plan], str]] = {
    "nan": _nan,
    "spike": _spike,
    "rising_loss": _too_high,
    "oscillation": _oscillation,
    "plateau": _plateau,
    "exploding_gradient": _exploding,
    "rising_eval_loss": _memorized,
}
"""By the kind of the problem."""
