"""The results of lm-eval's tasks as an evaluation: measures with the value of every document, and some answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from framework.api import Aspect, EvalResult, Sample
from framework_plugins.evals.harness.figures import Results, is_number, measures
from framework_plugins.evals.harness.model import HarnessModel
from framework_plugins.evals.harness.names import measure_name


def result(results: Results, aspect: Aspect, model: HarnessModel, samples: int) -> EvalResult:
    """Return the results of lm-eval as an `EvalResult`.

    Args:
        results: as `Tasks.run` gives them.
        aspect: the aspect of the tasks.
        model: who answered.
        samples: how many answers of each task are kept.
    """
    notes: list[str] = []
    measures_by_name = dict(measures(results, aspect, notes))
    answers = [sample for task, rows in results["samples"].items() for sample in _samples(task, rows, model, samples)]
    return EvalResult(measures_by_name, answers, notes)


def _samples(task: str, rows: Sequence[Results], model: HarnessModel, count: int) -> Iterator[Sample]:
    """Give the first answers of a task that has them."""
    for row in rows[:count]:
        context, text = row["arguments"][0][0], row["resps"][0][0]
        if not isinstance(text, str):
            return
        answer = model.generated[context, text]
        scores = {measure_name(task, metric, row["filter"]): row[metric] for metric in row["metrics"]}
        numeric = {name: float(score) for name, score in scores.items() if is_number(score)}
        yield Sample(context, text, str(row["target"]), answer.stopped, numeric, answer.tokens)
