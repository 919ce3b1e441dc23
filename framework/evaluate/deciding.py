"""Which metric decides about the gain: chosen by the references, before anything is measured. And the objective."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from framework.api.data import Data
from framework.api.plan import EVAL_LOSS, PRIMARY, WINS, Plan
from framework.api.protocols import AnyMetric, AsksPrompts, Evaluator
from framework.api.records import DataResult, MeasureKind
from framework.api.scoring import kind_of


def objective_of(plan: Plan, data: DataResult | None) -> str:
    """Return the name of the objective; for `verdict.primary` the metric that decides, or else the validation loss."""
    if plan.objective != PRIMARY:
        return plan.objective
    decides = data.decides if data else ""
    known = {*plan.metric, *plan.measured, *plan.set_losses}
    return next((name for name in (decides, decides.removesuffix(WINS)) if name in known), EVAL_LOSS)


def with_deciding(
    data: Data, plan: Plan, metrics: Mapping[str, AnyMetric], evaluators: Mapping[str, Evaluator]
) -> Data:
    """Return the data with the metric that decides, by the references of the prompts that will be asked."""
    asking = [each for each in evaluators.values() if isinstance(each, AsksPrompts)]
    own = [prompt for each in asking for prompt in each.own_prompts(data.format)]
    prompts = own or data.prompts if asking else []
    references = [prompt.reference for prompt in prompts if prompt.reference is not None]
    name, why = deciding(plan, metrics, references)
    return dataclasses.replace(data, result=dataclasses.replace(data.result, decides=name, decides_why=why))


def deciding(plan: Plan, metrics: Mapping[str, AnyMetric], references: Sequence[str]) -> tuple[str, str]:
    """Return the name of the metric that decides, and why; both empty if no metric can, or there are no references.

    Args:
        plan: the run, with the settings of its metrics.
        metrics: the same, made.
        references: of the prompts that will be asked.
    """
    if plan.verdict.primary is not None:
        return plan.verdict.primary, "verdict.primary says so"
    judging = {name: metric for name, metric in metrics.items() if name not in plan.reward}  # it does not judge itself
    contents = [name for name, metric in judging.items() if kind_of(metric) is MeasureKind.content]
    if not contents or not references:
        return "", ""
    reasons = {name: plan.metric[name].config.unsuited(references) for name in contents}
    name = next((name for name in contents if not reasons[name]), "")
    if not name:
        first = contents[0]
        return first, f"the first of {', '.join(contents)}, but none suits: {reasons[first]}. Add another metric"
    passed_over = [f"not {other}, since {reasons[other]}" for other in contents[: contents.index(name)]]
    return name, "; ".join(passed_over) or "the first metric that compares answers with references"
