"""Scores of any origin in a JSONL file, an item a line.

    {"id": "q17", "scores": {"acc": 1, "f1": 0.82}, "prompt": "Who …?", "cluster": "document 3"}

`prompt` and `cluster` may be missing; other fields are not read.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from framework import FrameworkError
from framework.api import display_path, short_repr
from framework_plugins.evals.comparison.evaluations import (
    Evaluation,
    Item,
    Scores,
    Texts,
    cluster_of,
    content,
    direction,
    figure,
    json_lines,
    measured,
    number_of,
    own_error,
    readable,
    twice,
)

SHAPE = '{"id": "q1", "scores": {"acc": 1}, "prompt": "…", "cluster": "…"}'
"""A line, for messages; the last two fields may be missing."""


def read(file: Path, cluster: str, *, texts: bool) -> Evaluation:
    """Read a JSONL file of items with scores.

    Raises:
        FrameworkError: a line has another shape, or an item is there twice.
    """
    evaluation = Evaluation(display_path(file), "JSONL")
    text_store, lines = Texts(), dict[str, int]()
    scores: dict[str, dict[str, float | None]] = defaultdict(dict)
    for line_number, row in json_lines(file):
        where = f"{display_path(file)}:{line_number}"
        name, values = row.get("id"), row.get("scores")
        if not isinstance(name, str | int) or isinstance(name, bool) or not isinstance(values, dict):
            raise FrameworkError(f"{where}: a line looks like {SHAPE}")
        key = str(name)
        if key in lines:
            raise twice(where, f"the item {key}", f"line {lines[key]}")
        lines[key] = line_number
        for metric, value in values.items():
            scores[metric][key] = _number(value, metric, where)
        prompt = row.get("prompt")
        group = (
            cluster_of(row, cluster, where) if cluster else "" if row.get("cluster") is None else str(row["cluster"])
        )
        text = text_store.kept(readable(prompt)) if texts and isinstance(prompt, str) else ""
        evaluation.items[key] = Item(content(prompt) if prompt is not None else "", text, cluster=group)
    for metric, items in scores.items():
        up = direction(metric)
        values = [*items.values()]
        numbers = [value for value in values if value is not None]
        error = own_error(numbers)
        printed = figure(sum(numbers) / len(numbers), error) if numbers else ""
        evaluation.measures[metric] = Scores(measured(values, higher_is_better=up), [*items], up, printed, error)
    return evaluation


def _number(value: Any, metric: str, where: str) -> float | None:
    if value is not None and not isinstance(value, bool | int | float):
        shown = short_repr(value)
        raise FrameworkError(f"{where}: the score of {metric} is {shown}; a number, true, false or null is expected")
    return number_of(value, f"{where}: {metric}")
