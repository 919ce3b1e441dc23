"""`evaluator=prompts`: answers the same prompts each time it is asked, and scores them by the metrics of the run.

The first of them may be enough to decide, so more are asked only while they do not: the other prompts that may be
answered, and then those whose references are read (`read_answers.py`) instead. That is possible if the metric that
decides has a `may_match`, as `exact_match` has; the others keep to the answers that were generated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from framework import Selection
from framework.api import (
    Answer,
    Answered,
    AnyMetric,
    Data,
    EvalResult,
    Evaluator,
    Measure,
    Metric,
    Model,
    Outcome,
    Prompt,
    Results,
    Sample,
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


class Prompts(Evaluator):
    """Before and after on a few prompts."""

    def __init__(self, config: PromptsConfig) -> None:
        self.config = config
        self._own: Sequence[Prompt] | None = None

    def evaluate(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> EvalResult:
        """Answer and score; a metric that needs a reference leaves out prompts without one."""
        return self.look(1, model, data, metrics)

    def looks(self, model: Model, data: Data, metrics: Mapping[str, AnyMetric]) -> int:  # noqa: ARG002 - the protocol's
        """Return how many looks there are."""
        return len(self._look_sizes(data, metrics))

    def look(
        self,
        number: int,
        model: Model,
        data: Data,
        metrics: Mapping[str, AnyMetric],
        seen: EvalResult | None = None,
    ) -> EvalResult:
        """Ask the prompts of look `number`: the first `count` are answered, of the others the references are read."""
        sizes, prompts = self._look_sizes(data, metrics), self._prompts(data)
        if not prompts:
            return EvalResult({}, [], [NOTHING])
        size, may_answer = sizes[number - 1], len(prompts)
        if seen and len(seen.samples) > may_answer:  # a base that was asked when `count` was higher
            return seen
        levels = shares([min(look_size, may_answer) for look_size in sizes])
        references = [prompt.reference for prompt in (*prompts, *data.prompts[may_answer : sizes[-1]])]
        result = self.answered(
            model, prompts[:size], metrics, levels[min(size, may_answer)], may_answer, seen, references, data.passages
        )
        name = data.result.decides
        if name not in result.measures or sizes[-1] <= may_answer:
            return result
        metric, measure = metrics[name], result.measures[name]
        assert isinstance(metric, Metric)  # noqa: S101 - or there were no more looks
        if size > may_answer:
            earlier = seen.measures.get(name) if seen else None
            earlier = earlier if earlier and len(earlier.items) > may_answer else measure
            by_prompt = {sample.prompt: sample for sample in result.samples}
            samples = [by_prompt[scoring.question(prompt)] for prompt in prompts]
            measure = self._read(name, metric, model, data.prompts[:size], earlier, samples, references, data.passages)
        measure = replace(measure, look_share=shares(sizes)[size], early=size < sizes[-1])
        return replace(result, measures={**result.measures, name: measure})

    def answered(
        self,
        model: Model,
        prompts: Sequence[Prompt],
        metrics: Mapping[str, AnyMetric],
        look_share: float,
        limit: int,
        previous: EvalResult | None,
        references: Sequence[str | None],
        passages: frozenset[int],
    ) -> EvalResult:
        """Answer prompts and score the answers; the first ones keep the answers of an earlier look."""
        earlier_answers = (
            {sample.prompt: Answer(sample.answer, sample.tokens, sample.stopped) for sample in previous.samples}
            if previous
            else {}
        )
        unanswered = [prompt for prompt in prompts if scoring.question(prompt) not in earlier_answers]
        if previous and not unanswered:
            return previous
        generated = iter(self._generate(model, unanswered))
        answers = [earlier_answers.get(scoring.question(prompt)) or next(generated) for prompt in prompts]
        answered = scoring.answered(model, prompts, answers, metrics)
        scored = previous.measures if previous else {}
        measures, notes = scoring.measure(_add_stopped(metrics), answered, scored, references, passages)
        early = len(prompts) < limit
        measures = {name: replace(measure, look_share=look_share, early=early) for name, measure in measures.items()}
        earlier = [note for note in previous.notes if scoring.WITHOUT_REFERENCE not in note] if previous else []
        return EvalResult(measures, scoring.samples(answered, measures), [*earlier, *notes])

    def _read(
        self,
        name: str,
        metric: Metric,
        model: Model,
        prompts: Sequence[Prompt],
        earlier: Measure,
        samples: Sequence[Sample],
        references: Sequence[str | None],
        passages: frozenset[int],
    ) -> Measure:
        """Measure more prompts than were answered: read their references, and generate answers if that does not decide.

        Args:
            name: of the metric.
            metric: the one that decides.
            model: as it is.
            prompts: all that are asked.
            earlier: the measure of the first of them.
            samples: those that were answered.
            references: of all prompts that may be asked.
            passages: of the training rows.
        """
        checked, remaining = prompts[: min(CHECKED, len(samples))], prompts[len(earlier.items) :]
        read = read_answers(model, [*checked, *remaining], metric, self.config.max_new_tokens)
        texts: list[str | None] = read[len(checked) :]
        # In a sentence the reference may come later, so an answer that begins in another way has to be generated too.
        if earlier.content or _count_differences(metric, checked, read, earlier) > 1:
            texts = [None] * len(remaining)
        pending = [
            prompt
            for prompt, text in zip(remaining, texts, strict=True)
            if text is None and prompt.reference is not None
        ]
        generated = iter(self._generate(model, pending) if pending else ())
        answers = [sample.answer for sample in samples]
        answers += [""] * (len(earlier.items) - len(samples))  # these are scored
        for prompt, begun in zip(remaining, texts, strict=True):
            text = begun or ""  # its end may not be known, and changes no score
            answers.append(next(generated).text if begun is None and prompt.reference is not None else text)
        answered = [
            Answered(
                scoring.question(prompt),
                text,
                prompt.reference,
                0,
                stopped=True,
                where=prompt.where,
                cluster=prompt.cluster,
            )
            for prompt, text in zip(prompts, answers, strict=True)
        ]
        measures, _ = scoring.measure({name: metric}, answered, {name: earlier}, references, passages)
        extra_texts = {text.strip() for text in answers[len(earlier.items) :]}
        new_texts = [
            text for text in extra_texts if not any(sample.answer.strip().startswith(text) for sample in samples)
        ]
        return replace(measures[name], answers=earlier.answers + len(new_texts))

    def decided(self, results: Results, confidence: float) -> bool:  # noqa: ARG002 - the changes are judged at it
        """Whether the model is better or worse, or by another measure than the one that more prompts help."""
        name, change = next(((name, change) for name, change in results.changes.items() if change.primary), ("", None))
        measure = results.after.measures.get(name)
        if change is None or measure is None or measure.look_share == 1:
            return True
        if results.before is None:  # there is nothing to decide
            return len(measure.items) >= self.config.count
        return change.outcome in {Outcome.better, Outcome.worse}

    def _generate(self, model: Model, prompts: Sequence[Prompt]) -> list[Answer]:
        return model.generate(prompts, max_new_tokens=self.config.max_new_tokens, batch_size=model.answers_at_once)

    def _look_sizes(self, data: Data, metrics: Mapping[str, AnyMetric]) -> list[int]:
        """Return how many prompts each look asks: all at once if they are the user's own, or if none can decide."""
        may_answer = len(self._prompts(data))
        metric = metrics.get(data.result.decides)
        if metric is None or data.selecting or self.own_prompts(data.format):
            return [may_answer]
        if metric.compares:  # it does so after the last look
            return [may_answer]
        early = isinstance(metric, Metric) and type(metric).may_match is not Metric.may_match
        limit = max(may_answer, min(len(data.prompts), self.config.most)) if early else may_answer
        return look_sizes(limit, may_answer, may_answer if data.trial else self.config.first)

    def _prompts(self, data: Data) -> Sequence[Prompt]:
        """Return the user's own prompts, the same in both evaluations; else the data's.

        Where something is chosen by the answers, they are those to validation rows: the own ones judge.
        """
        return (() if data.selecting else self.own_prompts(data.format)) or data.prompts[: self.config.count]

    def own_prompts(self, form: Selection | None) -> Sequence[Prompt]:
        """Read the user's prompts once."""
        if self._own is None:
            self._own = own_prompts(self.config, form)
        return self._own


def look_sizes(limit: int, may_answer: int, first_size: int) -> list[int]:
    """Return how many prompts each look asks, at least twice as many each time.

    Args:
        limit: prompts that are asked at most.
        may_answer: how many of them may be answered.
        first_size: how many are enough to begin with.
    """
    sizes = [limit]
    for size in sorted({first_size, may_answer, *LOOKS}, reverse=True):
        if 2 * size <= sizes[0]:
            sizes.insert(0, size)
    return sizes


def shares(sizes: Sequence[int]) -> dict[int, float]:
    """Return the share of the level that each look may use: the last ones, which ask most, need most of it."""
    different = set(sizes)
    return {size: size / sum(different) for size in different}


def _count_differences(metric: Metric, prompts: Sequence[Prompt], read: Sequence[str | None], measure: Measure) -> int:
    """Count the prompts whose read answer has another score than the generated one."""
    pairs = zip(prompts, read, measure.items, strict=False)
    return sum(text is not None and _score(metric, text, prompt) != item for prompt, text, item in pairs)


def _score(metric: Metric, answer: str, prompt: Prompt) -> float | None:
    return None if prompt.reference is None else metric.score(answer, prompt.reference)


def _add_stopped(metrics: Mapping[str, AnyMetric]) -> dict[str, AnyMetric]:
    """Add the metric `stopped`: it costs nothing, and a model that never stops is of no use."""
    all_metrics = dict(metrics)
    all_metrics.setdefault("stopped", Stopped(StoppedConfig()))
    return all_metrics
