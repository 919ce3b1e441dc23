"""The schedules of transformers: their settings, and the same arithmetic to the last bit, without torch.

Not offered, though transformers names them: reduce_lr_on_plateau and greedy, which only the validations of
transformers' own loop move, and cosine_with_min_lr, which is `cosine` with an end. cosine_warmup_with_min_lr is called
`cosine_warm_start` here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, ClassVar

from annotated_types import Gt, Interval
from omegaconf import MISSING

from framework import Component, Plan
from framework.api import Problem, count
from framework.api.training import Schedule, ScheduleConfig

HALF_WAVE = 0.5
"""`num_cycles` with which a cosine falls once."""
POLYNOMIAL_END = 1e-7
"""Where transformers' polynomial ends by default."""
Shape = Enum("Shape", {"linear": "linear", "cosine": "cosine", "1-sqrt": "1-sqrt"})
"""How the rate rises or falls."""


def warm(step: int, warmup: int) -> float:
    """Return the factor of a step in the warm-up."""
    return float(step) / float(max(1, warmup))


def progress(step: int, steps: int, warmup: int) -> float:
    """Return how much of what follows the warm-up is done."""
    return float(step - warmup) / float(max(1, steps - warmup))


def wave(cycles: float, fraction: float) -> float:
    """Return the height of a cosine, from 1."""
    return 0.5 * (1.0 + math.cos(math.pi * float(cycles) * 2.0 * fraction))


@dataclass
class EndingScheduleConfig(ScheduleConfig):
    """A schedule whose last learning rate can be set."""

    min_learning_rate: Annotated[float | None, Gt(0)] = None
    """Learning rate at the end. null: taken from `min_lr_ratio`."""
    min_lr_ratio: Annotated[float | None, Interval(ge=0, lt=1)] = None
    """The same as a share of `trainer.learning_rate`. null, with `min_learning_rate` null too: 0."""

    def end(self, rate: float) -> float:
        """Return the last factor."""
        if self.min_learning_rate is not None:
            return self.min_learning_rate / rate
        return self.min_lr_ratio or 0.0

    def end_rate(self, rate: float) -> float | None:
        """Return the last learning rate; None if none is set."""
        return rate * self.min_lr_ratio if self.min_lr_ratio is not None else self.min_learning_rate


@dataclass
class LinearConfig(EndingScheduleConfig):
    """Warm-up, then a straight line down."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor for a step."""
        if step < warmup:
            return warm(step, warmup)
        if (final_rate := self.end_rate(rate)) is not None:
            return power_decay(step, steps, warmup, rate, final_rate, 1.0)
        return max(0.0, float(steps - step) / float(max(1, steps - warmup)))


@dataclass
class PolynomialConfig(EndingScheduleConfig):
    """Warm-up, then down as a power of what is left; by default to 1e-7."""

    power: Annotated[float, Gt(0)] = 1.0
    """The power; 1 is a straight line."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor for a step."""
        if step < warmup:
            return warm(step, warmup)
        final_rate = self.end_rate(rate)
        return power_decay(step, steps, warmup, rate, POLYNOMIAL_END if final_rate is None else final_rate, self.power)


def power_decay(step: int, steps: int, warmup: int, rate: float, final_rate: float, power: float) -> float:
    """Return the factor of a step on the way from a rate to the last one."""
    if step > steps:
        return final_rate / rate
    remaining: float = 1 - (step - warmup) / max(1, steps - warmup)
    return float(((rate - final_rate) * remaining**power + final_rate) / rate)


@dataclass
class CosineConfig(EndingScheduleConfig):
    """Warm-up, then down along a cosine."""

    num_cycles: Annotated[float, Gt(0)] = HALF_WAVE
    """Waves: 0.5 falls once."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor for a step."""
        if step < warmup:
            return warm(step, warmup)
        least = self.end(rate)
        return max(0.0, wave(self.num_cycles, progress(step, steps, warmup)) * (1 - least) + least)


@dataclass
class CosineWithRestartsConfig(ScheduleConfig):
    """Warm-up, then down along a cosine several times, each time from the peak."""

    num_cycles: Annotated[int, Gt(0)] = 1
    """How often it falls."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:  # noqa: ARG002 - ends at 0
        """Return the factor for a step."""
        if step < warmup:
            return warm(step, warmup)
        fraction = progress(step, steps, warmup)
        if fraction >= 1.0:
            return 0.0
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((float(self.num_cycles) * fraction) % 1.0))))


@dataclass
class CosineFromAWarmRateConfig(EndingScheduleConfig):
    """As cosine, but the first step of the warm-up already trains."""

    num_cycles: Annotated[float, Gt(0)] = HALF_WAVE
    """Waves: 0.5 falls once."""
    warmup_lr_rate: Annotated[float | None, Interval(ge=0, le=1)] = None
    """Learning rate of the first step, as a share of the peak. null: one step of the warm-up."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor for a step."""
        if step < warmup:
            if self.warmup_lr_rate is None:
                return (step + 1.0) / max(1.0, float(warmup))
            return self.warmup_lr_rate + (1.0 - self.warmup_lr_rate) * float(step) / max(1, float(warmup) - 1)
        fraction, least = (float(step) - warmup + 1.0) / max(1.0, float(steps) - warmup), self.end(rate)
        return max(0.0, wave(self.num_cycles, fraction) * (1 - least) + least)


@dataclass
class InverseSqrtConfig(ScheduleConfig):
    """Warm-up, then down as one over the square root of the steps."""

    timescale: Annotated[int | None, Gt(0)] = None
    """Steps after which the rate has fallen noticeably. null: the warm-up; without one, 10,000."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:  # noqa: ARG002 - it has no end
        """Return the factor for a step."""
        if step < warmup:
            return warm(step, warmup)
        scale = self.timescale if self.timescale is not None else warmup or 10_000
        return 1.0 / math.sqrt((step + scale - warmup) / scale)


@dataclass
class WarmupStableDecayConfig(EndingScheduleConfig):
    """Warm-up, then the peak, then down in the last steps."""

    num_decay_steps: Annotated[int, Gt(0)] = MISSING
    """Steps in which the rate falls."""
    num_stable_steps: Annotated[int | None, Gt(0)] = None
    """Steps at the peak. null: all between warm-up and decay."""
    warmup_type: Shape = Shape.linear
    """How the rate rises."""
    decay_type: Shape = Shape.cosine
    """How the rate falls."""
    num_cycles: Annotated[float, Gt(0)] = HALF_WAVE
    """Waves of decay_type=cosine: 0.5 falls once."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:
        """Return the factor for a step."""
        stable = steps - warmup - self.num_decay_steps if self.num_stable_steps is None else self.num_stable_steps
        least = self.end(rate)
        if step < warmup:
            fraction = warm(step, warmup)
            rise = {Shape.linear: fraction, Shape.cosine: 0.5 * (1.0 - math.cos(math.pi * fraction))}
            height = rise.get(self.warmup_type, 1.0 - math.sqrt(1.0 - fraction))
        elif step < warmup + stable:
            return 1.0
        elif step < warmup + stable + self.num_decay_steps:
            fraction = float(step - warmup - stable) / float(max(1, self.num_decay_steps))
            fall = {Shape.linear: 1.0 - fraction, Shape.cosine: wave(self.num_cycles, fraction)}
            height = fall.get(self.decay_type, 1.0 - math.sqrt(fraction))
        else:
            return least
        return max(0.0, height * (1.0 - least) + least)


@dataclass
class ConstantConfig(ScheduleConfig):
    """The peak from the first step on, without a warm-up."""

    warms_up: ClassVar[bool] = False

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:  # noqa: ARG002 - whatever they are
        """Return 1."""
        return 1.0


@dataclass
class ConstantWithWarmupConfig(ScheduleConfig):
    """Warm-up, then the peak."""

    def factor(self, step: int, steps: int, warmup: int, rate: float) -> float:  # noqa: ARG002 - it has no end
        """Return the factor for a step."""
        return warm(step, warmup) if step < warmup else 1.0


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "linear": LinearConfig,
    "cosine": CosineConfig,
    "cosine_with_restarts": CosineWithRestartsConfig,
    "cosine_warm_start": CosineFromAWarmRateConfig,
    "polynomial": PolynomialConfig,
    "inverse_sqrt": InverseSqrtConfig,
    "warmup_stable_decay": WarmupStableDecayConfig,
    "constant": ConstantConfig,
    "constant_with_warmup": ConstantWithWarmupConfig,
}
"""By the names of transformers, which people know."""


def schedule(config: Schedule) -> Schedule:
    """Return what computes the factors: the settings do it themselves."""
    return config


def components() -> Iterator[Component]:
    """Give the options."""
    for name, schema in SCHEDULES.items():
        yield Component(name, schema, f"{__name__}:{schedule.__name__}")


def problems(plan: Plan) -> Iterator[Problem]:
    """Say what of the schedule contradicts the rest of the plan, a sentence each."""
    config, training = plan.schedule.config, plan.training
    setting = f"schedule={plan.schedule.component.name}"
    if isinstance(config, EndingScheduleConfig):
        lowest, peak = config.min_learning_rate, training.learning_rate
        if lowest is not None and config.min_lr_ratio is not None:
            yield Problem(
                "schedule.min_learning_rate and schedule.min_lr_ratio say the same: set one of them",
                ("schedule.min_learning_rate", "schedule.min_lr_ratio"),
            )
        if lowest is not None and lowest >= peak:
            yield Problem(
                f"schedule.min_learning_rate={lowest:g} must be below trainer.learning_rate={peak:g}",
                ("schedule.min_learning_rate", "trainer.learning_rate"),
            )
    warms_up = training.warmup_steps or training.warmup_ratio
    if warms_up and not config.warms_up and not plan.optimizer.config.own_schedule:
        key = "trainer.warmup_steps" if training.warmup_steps else "trainer.warmup_ratio"
        value = training.warmup_steps or f"{warms_up:g}"
        yield Problem(f"{key}={value}: {setting} has no warm-up: set schedule=constant_with_warmup", (key,))


def advice(plan: Plan, steps: int) -> Iterator[str]:
    """Give advice on a schedule whose parts are longer than a training with this many steps."""
    config, warm_steps = plan.schedule.config, plan.warmup(steps)
    decay = config.num_decay_steps if isinstance(config, WarmupStableDecayConfig) else 0
    if decay + warm_steps > steps > warm_steps:
        yield (
            f"schedule.num_decay_steps={decay} of {steps} steps, after {count(warm_steps, 'step')} of warm-up: "
            "the rate falls before it reaches the learning rate that you set. Set "
            f"schedule.num_decay_steps={max(1, (steps - warm_steps) // 5)}"
        )
