"""`evaluator=replace_api`: answers to held-out requests, how probable they are, and how long they take."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

from framework import Selection
from framework.api import (
    Answered,
    AnyMetric,
    Data,
    EvalResult,
    Evaluator,
    Measure,
    MeasureKind,
    Model,
    Prompt,
    scoring,
)
from framework_plugins.replace_api.config import (
    ALONE,
    MODEL_INPUT,
    MODEL_OUTPUT,
    PROBABILITY,
    SECONDS,
    VERSUS,
    ReplaceApiConfig,
)

TIMED = 3
"""Requests that are answered one by one, for the latency."""
JUDGED = 20
"""Pairs with a known result that measure a judge."""


class ReplaceApi(Evaluator):
    """Answers held-out requests."""

    def __init__(self, config: ReplaceApiConfig) -> None:
        self.config = config

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt] | None:
        """It asks those of the data."""
        del form
        return ()

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        prompts = data.prompts[: self.config.count]
        if not prompts:
            return EvalResult({}, notes=["replace_api: no request is held out"])
        limit, batch_size = self.config.max_new_tokens, model.answers_at_once
        start = time.perf_counter()
        answers = model.generate(prompts, max_new_tokens=limit, batch_size=batch_size)
        seconds = (time.perf_counter() - start) / len(prompts)
        alone = []
        for prompt in prompts[:TIMED]:
            start = time.perf_counter()
            model.generate([prompt], max_new_tokens=limit, batch_size=1)
            alone.append(time.perf_counter() - start)
        answered = scoring.answered(model, prompts, answers, metrics)
        measures, notes = scoring.measure(metrics, answered, passages=data.passages)
        for name, metric in metrics.items():
            if metric.compares:
                compared = metric.compare(_logged(answered), answered)
                clusters = measures[name].clusters if name in measures else []
                measures[f"{name}{VERSUS}"] = _measure(compared.items, answered, clusters=clusters, compared=True)
                notes += [*compared.notes, _judge_error(name, metric, answered)]
        own = [
            replace(prompt, reference=answer.text, calls=()) for prompt, answer in zip(prompts, answers, strict=True)
        ]
        probable = {
            number: math.exp(sum(scored.log_probs)) for number, (_, scored) in scoring.references(model, own).items()
        }
        measures |= {
            # An answer that the chat template cannot write is never sure.
            PROBABILITY: _measure([probable.get(number, 0.0) for number in range(len(prompts))], answered),
            SECONDS: Measure(seconds, kind=MeasureKind.change, unit="s"),
            ALONE: Measure(fmean(alone), kind=MeasureKind.change, unit="s"),
            MODEL_INPUT: _measure(
                [float(len(model.tokenize(model.render(prompt)))) for prompt in prompts], answered, unit="tokens"
            ),
            MODEL_OUTPUT: _measure([float(answer.tokens) for answer in answers], answered, unit="tokens"),
        }
        of_answers = {name: measure for name, measure in measures.items() if measure.items}
        return EvalResult(measures, scoring.samples(answered, of_answers), notes)


def _measure(
    items: Sequence[float | None],
    answered: Sequence[Answered],
    *,
    unit: str = "",
    clusters: Sequence[int] = (),
    compared: bool = False,
) -> Measure:
    known = [item for item in items if item is not None]
    return Measure(
        fmean(known) if known else math.nan, list(items), higher_is_better=compared, unit=unit, compared=compared,
        kind=MeasureKind.content if compared else MeasureKind.change, clusters=list(clusters),
        where=[answer.where for answer in answered], item="request",
    )  # fmt: skip


def _logged(answered: Sequence[Answered]) -> list[Answered]:
    return [replace(answer, answer=answer.reference or "") for answer in answered]


def _judge_error(name: str, metric: AnyMetric, answered: Sequence[Answered]) -> str:
    """Measure how often a judge is wrong: the logged answer has to beat the one that was logged for another request."""
    logged = _logged(answered)[:JUDGED]
    dealt = [
        replace(answer, answer=other.answer) for answer, other in zip(logged, [*logged[1:], *logged[:1]], strict=True)
    ]
    pairs = [(wrong, right) for wrong, right in zip(dealt, logged, strict=True) if wrong.answer != right.answer]
    if not pairs:
        return f"metric '{name}': its own error is not known, because all logged answers are the same"
    items = metric.compare([wrong for wrong, _ in pairs], [right for _, right in pairs]).items
    scores = [item for item in items if item is not None]
    error = 1 - fmean(scores) if scores else 1.0
    return (
        f"metric '{name}' is wrong about {error:.0%} of {len(pairs)} pairs of the logged answer and one that was "
        "logged for another request, in both orders"
    )
