"""What a model is measured by: the validation loss and every evaluator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from framework.api.data import Data
from framework.api.plan import Plan
from framework.api.protocols import AnyMetric, Evaluator, Model, SharesBase
from framework.api.records import EvalResult, Measure, MeasureKind, TokenRow
from framework.api.schema import Affects
from framework.hooks.session import Session
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

    def base(self) -> EvalResult:
        """Measure the base, or take the measures of another trial of the sweep with the same base and data."""
        plan, model, shared = self.plan, self.model, self.session.shared
        base = model.base_key if isinstance(model, SharesBase) else ""
        settings = plan.affecting(Affects.baseline)
        key = key_of(base, self.data.result.fingerprint, settings) if base else ""
        return shared.get_or_make("baseline", key, self.now)

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

    def trained(self) -> EvalResult:
        """Measure the trained model; in a sweep that chooses by a measure of prompts, on other prompts too."""
        after, plan = self.now(), self.plan
        if not (plan.sweep and self.data.selection and plan.objective in {*plan.metric, *plan.measured}):
            return after
        for evaluator in self.evaluators.values():
            result = evaluator.evaluate(self.model, self.data.for_selection(), self.metrics)
            if plan.objective in result.measures:
                return replace(after, selection={plan.objective: result.measures[plan.objective].value})
        return after


def _validation_loss(model: Model, rows: Sequence[TokenRow]) -> Measure:
    """Return the mean loss over the supervised tokens, row by row, in nats."""
    scored = [row.log_probs for row in model.score(rows)]
    weights = [float(len(row)) for row in scored]
    items = [-sum(row) / len(row) if row else None for row in scored]
    value = sum(-sum(row) for row in scored) / sum(weights)
    return Measure(value, items, weights, kind=MeasureKind.loss, where=[row.where for row in rows])
