"""The search space, as Hydra's words write it: lists, `choice`, `glob`, `range`, `interval`, and `tag(log, …)`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from framework import FrameworkError

MOST_WHOLE = 1000
"""Numbers of an interval that are listed."""


@dataclass(frozen=True)
class Space:
    """The search space.

    Attributes:
        fixed: the overrides that all trials have.
        distributions: of the others, by key as it is written, a plus before it included.
        values: for each key its values as words, if it has a finite number of them.
    """

    fixed: list[str]
    distributions: Mapping[str, BaseDistribution]
    values: Mapping[str, list[str]]

    @property
    def combinations(self) -> float:
        """How many different trials there are; infinitely many with an interval."""
        is_finite = self.values.keys() == self.distributions.keys()
        return math.prod(map(len, self.values.values())) if is_finite else math.inf


def read_space(loader: ConfigLoader, words: Sequence[str]) -> Space:
    """Read the overrides of a sweep; the last one of a repeated key holds.

    Raises:
        FrameworkError: nothing is swept over, or a range is empty.
    """
    parser = OverridesParser.create(config_loader=loader)
    overrides = {override.get_key_element(): override for override in parser.parse_overrides(list(words))}
    swept = {key: override for key, override in overrides.items() if override.is_sweep_override()}
    if not swept:
        raise FrameworkError(
            "hydra/sweeper=optuna5 has nothing to search: give, for example, trainer.learning_rate=interval(1e-5,1e-3)"
        )
    if "objective" in swept:
        raise FrameworkError(
            f"{swept['objective'].input_line}: trials are compared by one objective, so it cannot be swept over"
        )
    fixed = [str(override.input_line) for key, override in overrides.items() if key not in swept]
    values = {
        key: [str(value) for value in override.sweep_string_iterator()]
        for key, override in swept.items()
        if override.is_discrete_sweep()
    }
    distributions = {key: _distribution(override, values.get(key, [])) for key, override in swept.items()}
    for key, numbers in distributions.items():
        # An interval of whole numbers is a list, if a short one.
        if isinstance(numbers, IntDistribution) and numbers.high - numbers.low < MOST_WHOLE:
            values.setdefault(key, [str(integer) for integer in range(numbers.low, numbers.high + 1, numbers.step)])
    return Space(fixed, distributions, {key: values[key] for key in distributions if key in values})


def _distribution(override: Override, values: Sequence[str]) -> BaseDistribution:
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        low, high, log = sweep.start, sweep.end, "log" in sweep.tags
        is_integer = isinstance(low, int) and isinstance(high, int)
        try:
            return IntDistribution(low, high, log=log) if is_integer else FloatDistribution(low, high, log=log)
        except ValueError as error:  # the ends are the wrong way round, or the logarithm of 0 is asked for
            raise FrameworkError(f"{override.input_line}: {error}") from error
    if not values:
        raise FrameworkError(f"{override.input_line} holds no value")
    if isinstance(sweep, RangeSweep) and not sweep.shuffle and sweep.step > 0:
        return _range(sweep, values)
    return CategoricalDistribution(list(values))


def _range(sweep: RangeSweep, values: Sequence[str]) -> BaseDistribution:
    """Return numbers that have an order. As everywhere in Hydra, a range ends before its stop."""
    low, high = float(values[0]), float(values[-1])
    log = "log" in sweep.tags
    if all(isinstance(part, int) for part in (sweep.start, sweep.stop, sweep.step)):
        # Optuna knows no steps on a logarithmic scale.
        return IntDistribution(int(low), int(high), log=log, step=1 if log else int(sweep.step))
    return FloatDistribution(low, high, step=float(sweep.step))


def as_sweep(distribution: BaseDistribution) -> str:
    """Write what is swept over as the value of a word: `8,16`, `tag(log,interval(1e-05,0.001))`."""
    if isinstance(distribution, CategoricalDistribution):
        return ",".join(map(str, distribution.choices))
    ends = f"interval({distribution.low},{distribution.high})"
    numbers = f"int({ends})" if isinstance(distribution, IntDistribution) else ends
    return f"tag(log,{numbers})" if distribution.log else numbers


def as_words(params: Mapping[str, object]) -> list[str]:
    """Write the chosen values as overrides of a trial: `trainer.learning_rate=0.0002`."""
    # `repr` keeps all digits, so that the trial has the value that the study has.
    return [f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}" for key, value in params.items()]
