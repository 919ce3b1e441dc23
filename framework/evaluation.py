"""What a model is measured by: the validation loss, every evaluator, and the noise that random adapters show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from framework import shelf
from framework.data import Data
from framework.errors import FrameworkError
from framework.plan import Plan
from framework.protocols import AnyMetric, Evaluator, Model
from framework.records import EvalResult, Measure, Nulls, TokenRow


def baseline(
    plan: Plan, model: Model, data: Data, evaluators: Mapping[str, Evaluator], metrics: Mapping[str, AnyMetric]
) -> EvalResult:
    """Measure the base, or take what another point of the sweep measured of the same one, on the same data."""
    base = getattr(model, "base_key", "")
    settings = [plan.config[name] for name in ("data", "format", "metric", "evaluator", "seed")]
    several = [choice.component.name for choice in (*plan.metric.values(), *plan.evaluator.values())]
    options = [plan.data.component.name, plan.format.component.name, *several]
    key = shelf.key_of(base, data.result.fingerprint, options, settings) if base else ""
    kept: tuple[EvalResult, Any] | None = shelf.find("baseline", key)
    if kept is None:
        result = evaluate(model, data, evaluators, metrics)
        shelf.keep("baseline", key, (result, getattr(model, "base_memory", None)))
        return result
    result, memory = kept
    if memory is not None:
        alike: Any = model  # like the one that was measured, it has such a memory
        alike.base_memory = memory
    return result


def evaluate(
    model: Model, data: Data, evaluators: Mapping[str, Evaluator], metrics: Mapping[str, AnyMetric]
) -> EvalResult:
    """Measure the model as it stands: the validation loss, then every evaluator."""
    measures = {"eval_loss": _validation_loss(model, data.validation)} if data.validation else {}
    samples, notes = [], []
    for evaluator in evaluators.values():
        result = evaluator.evaluate(model, data, metrics)
        measures |= result.measures
        samples += result.samples
        notes += result.notes
    return EvalResult(measures, samples, notes)


def _validation_loss(model: Model, rows: Sequence[TokenRow]) -> Measure:
    """Return the mean loss over the supervised tokens, row by row, in nats."""
    scored = [row.log_probs for row in model.score(rows)]
    weights = [float(len(row)) for row in scored]
    items = [-sum(row) / len(row) if row else None for row in scored]
    return Measure(sum(-sum(row) for row in scored) / sum(weights), items, weights)


def noise(
    plan: Plan,
    model: Model,
    data: Data,
    evaluators: Mapping[str, Evaluator],
    metrics: Mapping[str, AnyMetric],
    *,
    compared: bool,
) -> Nulls:
    """Measure random adapters as the trained one was measured, where there is a base to compare with."""
    results: list[EvalResult] = []
    if not compared:
        return Nulls(results, "there is no baseline")
    try:
        for number in range(plan.verdict.null_adapters):
            with model.as_null(plan.seed + number):
                results.append(evaluate(model, data, evaluators, metrics))
    except FrameworkError as error:
        return Nulls(results, str(error))
    return Nulls(results)
