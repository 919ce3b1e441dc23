"""What a model is measured by: the validation loss, every evaluator, and the noise that random adapters show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.protocols import AnyMetric, Evaluator, Model, SharesBase
from framework.api.records import EvalResult, Measure, NullDistribution, TokenRow
from framework.api.schema import Affects
from framework.hooks.session import Session
from framework.util.errors import FrameworkError
from framework.util.shared_cache import key_of


@dataclass(frozen=True)
class Measuring:
    """Measures the model of a run as it stands, each time in the same way."""

    plan: Plan
    model: Model
    data: Data
    evaluators: Mapping[str, Evaluator]
    metrics: Mapping[str, AnyMetric]
    session: Session

    @property
    def base_key(self) -> str:
        """A hash over all that the measures of the base depend on; empty where the model has none."""
        base = self.model.base_key if isinstance(self.model, SharesBase) else ""
        return key_of(base, self.data.result.fingerprint, self.plan.affecting(Affects.baseline)) if base else ""

    def base(self) -> EvalResult:
        """Measure the base, or take the measures of another trial of the sweep with the same base and data."""
        return self.session.shared.get_or_make("baseline", self.base_key, self.now)

    def now(self) -> EvalResult:
        """Measure the model as it stands: the validation loss, then every evaluator."""
        validation = self.data.validation
        measures = {"eval_loss": _validation_loss(self.model, validation)} if validation else {}
        samples, notes = [], []
        for evaluator in self.evaluators.values():
            result = evaluator.evaluate(self.model, self.data, self.metrics)
            measures |= result.measures
            samples += result.samples
            notes += result.notes
        return EvalResult(measures, samples, notes)

    def trained(self, *, compared: bool) -> tuple[EvalResult, NullDistribution]:
        """Measure the trained model, and random adapters in its place where it is to be `compared` with the base."""
        after = self.now()
        return after, self._noise() if compared else NullDistribution([], "there is no baseline")

    def _noise(self) -> NullDistribution:
        """Measure random adapters as the trained one was measured."""
        results: list[EvalResult] = []
        try:
            for number in range(self.plan.verdict.random_adapters):
                with self.model.with_random_adapter(self.plan.seed + number):
                    results.append(self.now())
        except FrameworkError as error:
            return NullDistribution(results, str(error))
        return NullDistribution(results)


def _validation_loss(model: Model, rows: Sequence[TokenRow]) -> Measure:
    """Return the mean loss over the supervised tokens, row by row, in nats."""
    scored = [row.log_probs for row in model.score(rows)]
    weights = [float(len(row)) for row in scored]
    items = [-sum(row) / len(row) if row else None for row in scored]
    return Measure(sum(-sum(row) for row in scored) / sum(weights), items, weights)
