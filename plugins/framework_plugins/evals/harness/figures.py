"""The figures of lm-eval's tasks, as measures with the value of every document. Nothing here imports lm-eval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from framework.api import Aspect, Measure, MeasureKind
from framework_plugins.evals.harness.names import measure_name
from framework_plugins.evals.likelihood import MAX_NATS

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Items:
    """Values that make a figure up: their weighted mean, or e to it."""

    values: list[float]
    weights: list[float]
    exponential: bool = False

    @property
    def figure(self) -> float:
        """The figure that the values make up."""
        weights = self.weights or [1.0] * len(self.values)
        mean = sum(value * weight for value, weight in zip(self.values, weights, strict=True)) / sum(weights)
        return math.exp(min(mean, MAX_NATS)) if self.exponential else mean


def measures(results: Results, aspect: Aspect, notes: list[str]) -> Iterator[tuple[str, Measure]]:
    """Give the measures by name; `notes` gets the figures that are not numbers.

    Args:
        results: `results`, `higher_is_better`, `group_subtasks` and `samples` as lm-eval returns them; of a
            sample, only `filter` and its metrics are read.
        aspect: the aspect of the tasks.
        notes: to add to.
    """
    for task, figures in results["results"].items():
        for key, value in figures.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            name = measure_name(task, metric, filter_name)
            if not is_number(value):
                notes.append(f"{name} is {value!r}, not a number")
                continue
            stderr = figures.get(f"{metric}_stderr,{filter_name}")
            up = bool((results["higher_is_better"].get(task) or {}).get(metric, True))
            items = _items(results, task, metric, filter_name, float(value)) or Items([], [])
            yield (
                name,
                Measure(
                    float(value),
                    list(items.values),
                    items.weights,
                    higher_is_better=up,
                    aspect=aspect,
                    exponential=items.exponential,
                    unit="bits" if metric == "bits_per_byte" else "",
                    kind=MeasureKind.loss if items.exponential or not up else MeasureKind.content,
                    stderr=float(stderr) if is_number(stderr) else None,
                ),
            )


def _items(results: Results, task: str, metric: str, filter_name: str, value: float) -> Items | None:
    """Return the values of the documents of a task or of a group's tasks, if they make up the figure."""
    tasks = list(subtasks(results, task))
    rows = [
        [row[metric] for row in results["samples"].get(name, []) if row["filter"] == filter_name and metric in row]
        for name in tasks
    ]
    for items in _aggregations(rows):
        if math.isclose(items.figure, value, rel_tol=1e-6, abs_tol=1e-9):
            return items
    return None


def subtasks(results: Results, name: str) -> Iterator[str]:
    """Give the tasks of a group and of the groups in it; a task is its own only one."""
    members = results.get("group_subtasks", {}).get(name)
    if not members:
        yield name
    for member in members or ():
        yield from subtasks(results, member)


def _aggregations(rows: Sequence[Sequence[Any]]) -> Iterator[Items]:
    """Give lm-eval's aggregations of the values of documents to a figure."""
    values = [value for task in rows for value in task]
    if values and all(map(is_number, values)):
        numbers = [float(value) for value in values]
        yield Items(numbers, [])
        yield Items(numbers, [1 / len(task) for task in rows for _ in task])  # each task of a group counts the same
        yield Items([-value for value in numbers], [], exponential=True)  # log-likelihoods
    elif values and all(map(_is_weighted, values)):
        sizes = [float(size) for _, size in values]
        rates = [-float(likelihood) / size for likelihood, size in values]
        yield Items(rates, sizes, exponential=True)
        yield Items([rate / math.log(2) for rate in rates], sizes)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, Real) and math.isfinite(value)


def _is_weighted(value: Any) -> bool:
    """Whether a value is a log-likelihood with the words or bytes that it is spread over."""
    return isinstance(value, tuple | list) and len(value) == 2 and all(map(is_number, value)) and value[1] > 0  # noqa: PLR2004 - a pair
