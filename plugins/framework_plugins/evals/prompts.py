"""`evaluator=prompts`: answers the same prompts each time it is asked, and scores them by the metrics of the run.

If that decides nothing and the data have more prompts, these are asked too, by a pass over their references
(`read_answers.py`) instead of generation. That is possible if the first metric that compares content is an
`EarlyMetric`, as `exact_match` is; the others keep to the answers that were generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from framework import Selection
from framework.api import (
    Answer,
    Answered,
    AnswerMetric,
    AnyMetric,
    Data,
    EarlyMetric,
    EvalResult,
    Measure,
    Metric,
    Model,
    Outcome,
    Prompt,
    Results,
    Scores,
    scoring,
)
from framework_plugins.evals.config import PromptsConfig, StoppedConfig
from framework_plugins.evals.metrics.stopped import Stopped
from framework_plugins.evals.own_prompts import own_prompts
from framework_plugins.evals.read_answers import read_answers

NOTHING = "no prompt was asked: the data have none, and no row with a question is held out"
LOOKS = (120, 240)
"""Prompts after which it may be decided, after those that are answered and before all that are asked."""
CHECKED = 20
"""Answers that were generated and are read as well: if more than one of them differs, the others are generated too."""


class Prompts:
    """Before and after on a few prompts."""

    def __init__(self, config: PromptsConfig) -> None:
        self.config = config
        self._own: Sequence[Prompt] | None = None

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Answer and score; a metric that needs a reference leaves out prompts without one."""
        prompts = self._prompts(data)
        if not prompts:
            return EvalResult({}, [], [NOTHING])
        answered = scoring.answered(model, prompts, self._generate(model, prompts), metrics)
        measures, notes = scoring.measure(_with_stopped(metrics), answered)
        if (early := _early(metrics)) in measures:
            measures[early] = replace(measures[early], looks=len(self._sizes(data)))
        return EvalResult(measures, scoring.samples(answered, measures), notes)

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:  # noqa: ARG002 - the protocol's
        """Return how many looks there are."""
        return len(self._sizes(data)) if _early(metrics) else 1

    def look(
        self,
        number: int,
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],
        seen: EvalResult | None = None,
    ) -> EvalResult:
        """Ask the prompts of look `number`: the first are answered, of the others the references are read."""
        name = _early(metrics)
        known = seen.measures.get(name) if seen else None
        if seen is None or known is None:
            seen = self.evaluate(model, data, metrics)
            known = seen.measures.get(name)
        if number == 1 or known is None:
            return seen
        prompts = data.prompts[: self._sizes(data)[number - 1]]
        metric = metrics[name]
        assert isinstance(metric, Metric)  # noqa: S101 - it has this name
        assert isinstance(metric, EarlyMetric)  # noqa: S101 - as above
        checked, more = prompts[: min(CHECKED, len(known.items))], prompts[len(known.items) :]
        read = read_answers(model, [*checked, *more], metric, self.config.max_new_tokens)
        texts: list[str | None] = read[len(checked) :]
        if _differing(metric, checked, read, known) > 1:
            texts = [None] * len(more)
        missing = [prompt for prompt, text in zip(more, texts, strict=True) if text is None]
        generated = iter(self._generate(model, missing) if missing else ())
        answers = [next(generated).text if text is None else text for text in texts]
        scores = [*known.items, *map(partial(_score, metric), answers, more)]
        asked = [
            Answered(scoring.question(one), "", one.reference, 0, stopped=True, where=one.where, cluster=one.cluster)
            for one in prompts
        ]
        compared = [score for score, one in zip(scores, prompts, strict=True) if one.reference is not None]
        measures, _ = scoring.measure({name: KnownScores(metric, compared)}, asked)
        return replace(seen, measures={**seen.measures, name: replace(measures[name], looks=known.looks)})

    def decided(self, results: Results, confidence: float) -> bool:  # noqa: ARG002 - the changes are judged at it
        """Whether the model is better or worse, or by another measure than the one that more prompts help."""
        name, change = next(((name, one) for name, one in results.changes.items() if one.primary), ("", None))
        if results.before is None or change is None or results.after.measures[name].looks == 1:
            return True
        return change.outcome in {Outcome.better, Outcome.worse}

    def _generate(self, model: Model, prompts: Sequence[Prompt]) -> list[Answer]:
        return model.generate(prompts, max_new_tokens=self.config.max_new_tokens, batch_size=self.config.batch_size)

    def _sizes(self, data: Data) -> list[int]:
        """Return how many prompts each look asks; prompts of the user's own are asked all at once."""
        first = len(self._prompts(data))
        if not first or data.selecting or self.own_prompts(data.format):
            return [first]
        most = max(first, min(len(data.prompts), self.config.most))
        return [*(size for size in (first, *LOOKS) if first <= size <= most / 2), most]

    def _prompts(self, data: Data) -> Sequence[Prompt]:
        """Return the user's own prompts, of which both evaluations ask the same; else the data's.

        Where something is chosen by the answers, they are those to validation rows: the own ones judge.
        """
        return (() if data.selecting else self.own_prompts(data.format)) or data.prompts[: self.config.count]

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt]:
        """Read the user's prompts once."""
        if self._own is None:
            self._own = own_prompts(self.config, form)
        return self._own


class KnownScores(AnswerMetric):
    """Scores that are known, as a metric: `scoring` finds similar prompts and leaves out those without a reference."""

    needs_reference = True

    def __init__(self, metric: AnyMetric, scores: Sequence[float | None]) -> None:
        self.higher_is_better = metric.higher_is_better
        self.scores = scores

    def score_all(self, answers: Sequence[Answered]) -> Scores:
        """Return the scores of the prompts with a reference."""
        del answers
        return Scores([*self.scores])


def _early(metrics: Mapping[str, AnyMetric]) -> str:
    """Return the name of the first metric that compares content, if the beginning of an answer may settle it."""
    name, metric = next(((name, one) for name, one in metrics.items() if one.needs_reference), ("", None))
    return name if isinstance(metric, Metric) and isinstance(metric, EarlyMetric) else ""


def _differing(metric: Metric, prompts: Sequence[Prompt], read: Sequence[str | None], known: Measure) -> int:
    """Return for how many prompts the answer that was read and the one that was generated have another score."""
    pairs = zip(prompts, read, known.items, strict=False)
    return sum(text is not None and _score(metric, text, prompt) != item for prompt, text, item in pairs)


def _score(metric: Metric, answer: str, prompt: Prompt) -> float | None:
    return None if prompt.reference is None else metric.score(answer, prompt.reference)


def _with_stopped(metrics: Mapping[str, AnyMetric]) -> dict[str, AnyMetric]:
    """Add whether answers end by themselves: it costs nothing, and a model that never stops is of no use."""
    all_metrics = dict(metrics)
    all_metrics.setdefault("stopped", Stopped(StoppedConfig()))
    return all_metrics
