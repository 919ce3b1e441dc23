"""Recommendations for each problem, from the field's tutorials, with the values of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from framework import Plan
from framework.api import TrainingIssue, count
from framework_plugins.monitor.losses import HARDER_ROWS, NO_GRADIENT, NOTHING_LEFT
from framework_plugins.monitor.rewards import ALL_CUT, FAR_FROM_BASE, NO_MARGIN, NO_SIGNAL
from framework_plugins.monitor.validation import RISES_WITH_TRAINING, VALIDATION_NAN

MIN_RATE_FACTOR, MAX_RATE_FACTOR = 2.0, 10.0
"""A rate that is wrong is changed by a factor between these."""
HIGH_RATE = 1e-3
"""A learning rate above it is high for any way to train: weights that it threw off learn nothing, as with a low one."""
USUAL_CLIP = 1.0
"""The norm that gradients are clipped to as a rule."""
FIRST_STEP_NAN = (
    "No weight has changed yet, so the model itself gives it: get its weights and its config.json again from their "
    "source, or set trainer.dtype=fp32"
)
"""For a loss that is not a number in the first step."""
NO_GRADIENT_ADVICE = (
    "Nothing is learned at any learning rate: check with stages=[data] that rows have learned tokens, and that the "
    "adapter is on modules of this model"
)
NOTHING_LEFT_ADVICE = (
    "Check that prompts do not contain their answers. If they do not, the rows are known: train for fewer steps"
)
NO_SIGNAL_ADVICE = (
    "If the reward is near its highest, end the training. If not, give prompts that are easier or harder, or a reward "
    "that distinguishes their answers, and raise method.temperature or method.num_generations"
)
ALL_CUT_ADVICE = (
    "Raise method.max_completion_length, or pay for shorter answers. If the model ended its answers before, look at "
    "what the reward pays for"
)


def recommendation(cause: str, plan: Plan, step: int) -> str:
    """Return the advice, one sentence or two, against a problem in this step, by its kind or known cause."""
    return FIRST_STEP_NAN if cause == TrainingIssue.NAN and step == 1 else RECOMMENDATIONS[cause](plan)


def _lower(plan: Plan) -> str:
    rate = plan.training.learning_rate
    lowest, highest = rate / MAX_RATE_FACTOR, rate / MIN_RATE_FACTOR
    return f"lower trainer.learning_rate from {rate:g} to between {lowest:g} and {highest:g}"


def _clip(plan: Plan) -> str:
    return f", set trainer.max_grad_norm={USUAL_CLIP:g}" if plan.training.max_grad_norm > USUAL_CLIP else ""


def _too_high(plan: Plan) -> str:
    return f"The learning rate is too high: {_lower(plan)}"


def _harder_rows(plan: Plan) -> str:
    return f"Compare the rows of these steps with earlier ones: if they are not harder, {_lower(plan)}"


def _oscillation(plan: Plan) -> str:
    steps = plan.training.gradient_accumulation_steps
    return f"{_harder_rows(plan)}, or raise trainer.gradient_accumulation_steps from {steps} to {2 * steps} or more"


def _plateau(plan: Plan) -> str:
    rate, rank = plan.training.learning_rate, plan.adapter.config.rank()
    if rate > HIGH_RATE:
        return f"The learning rate may have damaged the weights: {_lower(plan)}"
    low, high = (min(1.0, rate * factor) for factor in (MIN_RATE_FACTOR, MAX_RATE_FACTOR))
    raised = f"Raise trainer.learning_rate from {rate:g} to between {low:g} and {high:g}"
    return f"{raised}, or adapter.r from {rank} to {2 * rank} or more" if rank else raised


def _exploding(plan: Plan) -> str:
    return f"{_capitalized(_lower(plan))}{_clip(plan)}, or warm up for longer than {_warmup(plan)}"


def _warmup(plan: Plan) -> str:
    training = plan.training
    if training.warmup_ratio is not None:
        return f"trainer.warmup_ratio={training.warmup_ratio:g}"
    return f"trainer.warmup_steps={plan.warmup(0)}"


def _memorized(plan: Plan) -> str:
    training = plan.training
    fewer = (
        "lower trainer.max_steps" if training.max_steps else f"fewer than {count(training.num_train_epochs, 'epoch')}"
    )
    stop = "" if training.early_stopping_patience else ", trainer.early_stopping_patience=2"
    return f"The rows are memorized: {fewer}{stop}, or more rows"


def _over_optimized(plan: Plan) -> str:
    method = plan.method.config
    beta = method.divergence_weight()
    also = f"learn the chosen answers too, {method.learns_chosen}, " if method.learns_chosen else ""
    higher = f"raise method.beta from {beta:g} to {3 * beta:g}, or " if beta else ""
    return _capitalized(f"{also}{higher}{_lower(plan)}")


def _no_margin(plan: Plan) -> str:
    rate = plan.training.learning_rate
    return (
        "Look whether chosen and rejected answers, or the labels, are the right way round and differ. If so, raise "
        f"trainer.learning_rate from {rate:g} to between {MIN_RATE_FACTOR * rate:g} and {MAX_RATE_FACTOR * rate:g}"
    )


def _far_from_base(plan: Plan) -> str:
    beta = plan.method.config.divergence_weight()
    nearer = f"raise method.beta from {beta:g} to {3 * beta:g}" if beta else "set method.beta=0.04"
    return f"{_capitalized(_lower(plan))}, or {nearer}, which keeps the model near its reference"


def _capitalized(text: str) -> str:
    return text[0].upper() + text[1:]


RECOMMENDATIONS: Mapping[str, Callable[[Plan], str]] = {
    "nan": lambda plan: f"{_capitalized(_lower(plan))}{_clip(plan)}, and train in bf16 rather than fp16",
    "spike": lambda plan: f"Look at the rows of this step; if it happens again, {_lower(plan)}{_clip(plan)}",
    "rising_loss": _too_high,
    "oscillation": _oscillation,
    "plateau": _plateau,
    "exploding_gradient": _exploding,
    "rising_eval_loss": _memorized,
    "falling_likelihood": _over_optimized,
    "falling_reward": lambda plan: (
        f"Look at the drawn answers or the pairs of these steps: if they are as they should be, {_lower(plan)}"
    ),
    NO_MARGIN: _no_margin,
    NO_SIGNAL: lambda _: NO_SIGNAL_ADVICE,
    ALL_CUT: lambda _: ALL_CUT_ADVICE,
    FAR_FROM_BASE: _far_from_base,
    HARDER_ROWS: _harder_rows,
    NO_GRADIENT: lambda _: NO_GRADIENT_ADVICE,
    NOTHING_LEFT: lambda _: NOTHING_LEFT_ADVICE,
    RISES_WITH_TRAINING: lambda plan: f"The training loss rose too. {_too_high(plan)}",
    VALIDATION_NAN: lambda plan: (
        f"Check the validation rows for ones without a learned token. If all have some, {_lower(plan)}{_clip(plan)}"
    ),
}
"""By the kind of the problem, or by its cause."""
