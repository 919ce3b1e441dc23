"""An evaluator of a plan, wrapped: what its code raises or returns wrongly is an error that names it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from framework.api.data import Data
from framework.api.protocols import AnyMetric, Evaluator, Model
from framework.api.records import EvalResult, Measure, Prompt, Results, Sample
from framework.api.selection import Selection
from framework.util.errors import FrameworkError
from framework.util.guard import Guard, short_repr

T = TypeVar("T")


class CheckedEvaluator(Evaluator):
    """Calls an evaluator, and checks each result.

    Args:
        name: the option of `evaluator=`.
        evaluator: its code.
    """

    def __init__(self, name: str, evaluator: Evaluator) -> None:
        self.part = f"evaluator={name}"
        self.evaluator = evaluator

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Measure the model."""
        return self._result(lambda: self.evaluator.evaluate(model, data, metrics))

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt] | None:
        """Return its own prompts."""
        return self._call(lambda: self.evaluator.own_prompts(form))

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:
        """Return how many looks there may be.

        Raises:
            FrameworkError: the evaluator raises, or does not return a number of looks.
        """
        looks: Any = self._call(lambda: self.evaluator.looks(model, data, metrics))
        if not isinstance(looks, int) or looks < 1:
            raise FrameworkError(f"{self.part}: looks returned {short_repr(looks)}: return 1 or more")
        return looks

    def look(
        self,
        number: int,
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],
        seen: EvalResult | None = None,
    ) -> EvalResult:
        """Measure what belongs to a look."""
        return self._result(lambda: self.evaluator.look(number, model, data, metrics, seen))

    def decided(self, results: Results, confidence: float) -> bool:
        """Whether the looks say enough."""
        return bool(self._call(lambda: bool(self.evaluator.decided(results, confidence))))

    def _call(self, call: Callable[[], T]) -> T:
        with Guard(self.part):
            return call()

    def _result(self, call: Callable[[], EvalResult]) -> EvalResult:
        """Return a result.

        Raises:
            FrameworkError: the evaluator raises, or returns something else.
        """
        result: Any = self._call(call)
        if not isinstance(result, EvalResult):
            raise FrameworkError(f"{self.part} returned {short_repr(result)}: return an EvalResult(measures)")
        for kind, measures in (("measures", result.measures), ("base", result.base)):
            if not isinstance(measures, Mapping) or not all(isinstance(name, str) for name in measures):
                raise FrameworkError(
                    f"{self.part} returned {kind}={short_repr(measures)}: return a dict with a Measure for each name"
                )
            for name, measure in measures.items():
                self._check_measure(name, measure)
        for samples in (result.samples, result.base_samples):
            if not isinstance(samples, list) or not all(isinstance(sample, Sample) for sample in samples):
                raise FrameworkError(f"{self.part} returned samples={short_repr(samples)}: return a list of Sample")
        return result

    def _check_measure(self, name: str, measure: object) -> None:
        if not isinstance(measure, Measure):
            raise FrameworkError(
                f"{self.part} returned {short_repr(measure)} as {name}: return a Measure(value), with items if it has"
            )
        value = measure.value
        # A loss may be infinite, and a whole number may be too large for all that is computed with it.
        if not isinstance(value, int | float) or (isinstance(value, int) and abs(value) > sys.float_info.max):
            raise FrameworkError(
                f"{self.part} returned {short_repr(value)} as the value of {name}: return an int or float"
            )
        for part, values in (("items", measure.items), ("weights", measure.weights)):
            if not isinstance(values, list) or not all(isinstance(value, int | float | None) for value in values):
                raise FrameworkError(
                    f"{self.part} returned {part}={short_repr(values)} of {name}: return a list of numbers"
                )
