"""Which metric decides about the gain: chosen by the references, before anything is measured."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from framework.api.data import Data
from framework.api.plan import Judging
from framework.api.protocols import AnyMetric, Evaluator
from framework.api.records import MeasureKind
from framework.api.scoring import kind_of


def with_deciding(
    data: Data, judging: Judging, metrics: Mapping[str, AnyMetric], evaluators: Mapping[str, Evaluator]
) -> tuple[Data, dict[str, AnyMetric]]:
    """Return the data with the primary metric, by the references of the prompts.

    And the metrics that suit these references, or all if none does.
    """
    asked = [prompts for e in evaluators.values() if (prompts := e.own_prompts(data.format)) is not None]
    prompts = [*itertools.chain(*asked)] or data.prompts if asked else []
    references = [prompt.reference for prompt in prompts if prompt.reference is not None]
    metrics = applying(judging, metrics, references)
    name, why = deciding(judging, metrics, references)
    return dataclasses.replace(data, result=dataclasses.replace(data.result, decides=name, decides_why=why)), metrics


def applying(judging: Judging, metrics: Mapping[str, AnyMetric], references: Sequence[str]) -> dict[str, AnyMetric]:
    """Return the metrics that suit the references: all of them if no metric does."""
    idle = {
        name
        for name, choice in judging.metrics.items()
        if name != judging.primary and name in metrics and not choice.config.applies(references)
    }
    active_metrics = {name: metric for name, metric in metrics.items() if name not in idle}
    return active_metrics if any(metric.needs_reference for metric in active_metrics.values()) else dict(metrics)


def deciding(judging: Judging, metrics: Mapping[str, AnyMetric], references: Sequence[str]) -> tuple[str, str]:
    """Return the name of the primary metric, and the reason; both empty if no metric can decide.

    Args:
        judging: the metrics that may decide, with their settings.
        metrics: the metrics of the run.
        references: of the prompts that will be asked.
    """
    if judging.primary is not None:
        return judging.primary, "verdict.primary says so"
    contents = [name for name in judging.metrics if name in metrics and kind_of(metrics[name]) is MeasureKind.content]
    if not contents or not references:
        return "", ""
    reasons = {name: judging.metrics[name].config.unsuited(references) for name in contents}
    name = next((name for name in contents if not reasons[name]), "")
    if not name:
        fallback = contents[0]
        return fallback, f"the first of {', '.join(contents)}, but none suits: {reasons[fallback]}. Add another metric"
    earlier: dict[str, list[str]] = {}
    for candidate in contents[: contents.index(name)]:
        earlier.setdefault(reasons[candidate], []).append(candidate)
    passed_over = [f"not {' or '.join(names)}, since {reason}" for reason, names in earlier.items()]
    return name, "; ".join(passed_over) or "the first metric that compares answers with references"
