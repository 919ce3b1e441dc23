"""`evaluator=forgetting`: what a model knew before, measured with the general suite, and how far it moved.

The suite is our own, so no training set holds it. Questions, answers and texts are scored by likelihood, and the
divergence is taken at the answers to the instructions: nothing is generated, so it costs a pass over short rows.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from framework import FrameworkError
from framework.api import (
    AnyMetric,
    Aspect,
    Data,
    EvalResult,
    Evaluator,
    Example,
    Measure,
    MeasureKind,
    Message,
    Model,
    Prompt,
)
from framework_plugins.evals.config import ACCURACY, DIVERGENCE, PROBABILITY, ForgettingConfig
from framework_plugins.evals.general.suite import SUBJECTS, rows
from framework_plugins.evals.likelihood import MAX_NATS, Likelihood


class Forgetting(Evaluator):
    """General knowledge before and after."""

    def __init__(self, config: ForgettingConfig) -> None:
        self.config = config

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:  # noqa: ARG002 - the protocol's signature
        settings, likelihood = self.config, Likelihood(model)
        measures: dict[str, Measure] = {}
        notes: list[str] = []
        if settings.questions:
            question_rows = [row for subject in SUBJECTS for row in rows(f"questions/{subject}")[: settings.questions]]
            measures |= questions(likelihood, question_rows)
        if settings.instructions:
            measures["general_answers"] = _answers(likelihood, rows("instructions")[: settings.instructions])
        if settings.texts:
            texts = [row["text"] for row in rows("texts")[: settings.texts]]
            measures["general_perplexity"] = _perplexity(
                likelihood.score_texts(texts), [len(likelihood.encode(text)) for text in texts]
            )
        if settings.instructions:
            measures |= self._divergence(model, notes)
        return EvalResult(measures, [], notes)

    def _divergence(self, model: Model, notes: list[str]) -> Iterator[tuple[str, Measure]]:
        """Return the mean divergence at the answers to the instructions, or a note that it is not available."""
        examples = [
            Example(
                (Message("user", row["instruction"]), Message("assistant", row["answer"])),
                "chatml",
                f"general:{index}",
            )
            for index, row in enumerate(rows("instructions")[: self.config.instructions])
        ]
        learned = [row for row in model.encode(examples) if row.supervised]
        if not learned:
            notes.append(f"{DIVERGENCE}: the chat template leaves no learned tokens")
            return
        try:
            items = model.divergence(learned)
        except FrameworkError as error:
            notes.append(f"{DIVERGENCE}: {error}")
            return
        yield (
            DIVERGENCE,
            Measure(fmean(items), list(items), aspect=Aspect.general, unit="nats", kind=MeasureKind.change),
        )


def questions(likelihood: Likelihood, question_rows: Sequence[dict[str, Any]]) -> dict[str, Measure]:
    """Return the share of questions whose right choice is the likeliest, and the mean probability of the right choice.

    The second decides, and has the items: of the same questions it varies so much less that it takes a tenth of them.
    """
    pairs = [likelihood.pair(row["text"], f" {choice}") for row in question_rows for choice in row["choices"]]
    scores = iter(score for score, _ in likelihood.score(pairs))
    right: list[bool] = []
    probable: list[float] = []
    for row in question_rows:
        choices = list(itertools.islice(scores, len(row["choices"])))
        best = max(choices)
        right.append(choices.index(best) == row["answer"])
        probable.append(math.exp(choices[row["answer"]] - best) / sum(math.exp(choice - best) for choice in choices))
    accuracy = Measure(fmean(right), higher_is_better=True, aspect=Aspect.general, kind=MeasureKind.content)
    return {ACCURACY: accuracy, PROBABILITY: replace(accuracy, value=fmean(probable), items=[*probable])}


def _answers(likelihood: Likelihood, instructions: Sequence[dict[str, Any]]) -> Measure:
    """Return the perplexity of the answers to instructions, which the chat template writes."""
    pairs = [
        likelihood.pair(likelihood.model.render(Prompt((Message("user", row["instruction"]),))), row["answer"])
        for row in instructions
    ]
    return _perplexity([score for score, _ in likelihood.score(pairs)], [len(answer) for _, answer in pairs])


def _perplexity(scores: Sequence[float], tokens: Sequence[int]) -> Measure:
    """Return the perplexity by the token, from the log-likelihood of each text.

    An answer of two words may be of ten tokens: by the word, a few such answers decide how uncertain the mean is.
    """
    weights = [float(count) for count in tokens]
    # An answer that a tokenizer joins with the prompt has no token of its own: it is not asked.
    items = [-score / count if count else None for score, count in zip(scores, weights, strict=True)]
    value = math.exp(min(-sum(scores) / sum(weights), MAX_NATS))
    return Measure(value, items, weights, aspect=Aspect.general, exponential=True, kind=MeasureKind.loss)
