"""Scores answers by the metrics of a run. A metric that raises is named with the answer, and the others still count.

One that returns something else than numbers ends the run: at the baseline, so before the training.

    answered = scoring.answered(model, prompts, model.generate(prompts, …), metrics)
    measures, notes = scoring.measure(metrics, answered)
    result = EvalResult(measures, scoring.samples(answered, measures), notes)

`answered` asks the model for the log-probabilities of the references if a metric needs them.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat, TypeVar

from framework.api.protocols import AnswerMetric, AnyMetric, Metric, Model
from framework.api.records import (
    Answer,
    Answered,
    Example,
    Measure,
    MeasureKind,
    Message,
    Prompt,
    Sample,
    Scored,
    Scores,
    TokenRow,
)
from framework.api.records.rows import call_text
from framework.util.errors import FrameworkError, describe_error
from framework.util.guard import Caught, short_repr
from framework.util.plain_text import Reader, plain_text

__all__ = [
    "answered",
    "clusters",
    "kind_of",
    "may_match",
    "measure",
    "question",
    "references",
    "samples",
    "score",
    "with_reference",
]

T = TypeVar("T")
SHOWN_CHARACTERS = 40
"""Characters of an answer that a metric failed on."""
LARGEST_LOG = 700.0
"""Above it, the exponential of a score is too large for JSON."""
WITHOUT_REFERENCE = "prompts have no reference and are left out by"
"""The part of a note that is the same for any number of prompts."""
CONSTANTS = 10
"""References, the most frequent ones, that are tried as the one answer to all questions; so is what is said most."""
DEALT = "the answers, each given to another question"
"""Names these among the constant answers: they have the form of the answers, and belong to other questions."""


def question(prompt: Prompt) -> str:
    """Return the turns as one text; a single user turn is returned as it is."""
    if len(prompt.messages) == 1:
        return prompt.messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in prompt.messages)


def answered(
    model: Model, prompts: Sequence[Prompt], answers: Sequence[Answer], metrics: Mapping[str, AnyMetric]
) -> list[Answered]:
    """Put prompts and answers together; the model reads the references if a metric needs their log-probabilities."""
    needs_log_probs = any(isinstance(metric, AnswerMetric) and metric.needs_log_probs for metric in metrics.values())
    log_probs = _log_probs(model, prompts) if needs_log_probs else {}
    return [
        Answered(
            question(prompt),
            call_text(answer.calls) or answer.text,
            prompt.reference,
            answer.tokens,
            answer.stopped,
            log_probs.get(index),
            prompt.where,
            prompt.cluster,
        )
        for index, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def _log_probs(model: Model, prompts: Sequence[Prompt]) -> dict[int, tuple[float, ...]]:
    return {index: tuple(scored.log_probs) for index, (_, scored) in references(model, prompts).items()}


def references(model: Model, prompts: Sequence[Prompt]) -> dict[int, tuple[TokenRow, Scored]]:
    """Let the model read each reference after its prompt; one without a distinct token is left out.

    Returns:
        By the number of the prompt, the row in which the reference is learned, and what the model gives of it.
    """
    indices = [index for index, prompt in enumerate(prompts) if prompt.reference is not None]
    rows = model.encode([with_reference(prompts[index], index) for index in indices])
    pairs = [(index, row) for index, row in zip(indices, rows, strict=True) if row.supervised]
    scored = model.score([row for _, row in pairs]) if pairs else []
    return {index: (row, score) for (index, row), score in zip(pairs, scored, strict=True)}


def with_reference(prompt: Prompt, number: int) -> Example:
    """Return the conversation in which the reference is the answer, and the one turn that is learned."""
    turns = [dataclasses.replace(turn, learned=False) if turn.role == "assistant" else turn for turn in prompt.messages]
    text, calls = prompt.reference or "", call_text(prompt.calls)
    reference = Message("assistant", text)
    if calls and text.endswith(calls):  # the template writes them in its own way
        reference = Message("assistant", text.removesuffix(calls).rstrip(), prompt.calls)
    return Example((*turns, reference), "reference", f"reference {number + 1}", prompt.tools)


def measure(
    metrics: Mapping[str, AnyMetric],
    answers: Sequence[Answered],
    known: Mapping[str, Measure] | None = None,
    more: Iterable[str | None] = (),
    passages: frozenset[int] = frozenset(),
) -> tuple[dict[str, Measure], list[str]]:
    """Score answers by each metric.

    Args:
        metrics: by name.
        answers: to all questions.
        known: measures of the first of these answers, which are not scored again.
        more: references of questions that may be asked later: an answer that names several references says none.
        passages: `Data.passages`.

    Returns:
        The measures by name, with their items in the order of the answers. An item without a score is None; one without
        a reference also has the weight 0. A metric without any score is left out. Answers to similar questions share a
        cluster. And notes: what could not be scored, and why.
    """
    measures: dict[str, Measure] = {}
    notes: list[str] = []
    if not answers:
        return measures, notes
    numbers = clusters(answers, passages)
    reader = Reader(text for text in (*more, *(answer.reference for answer in answers)) if text is not None)
    where = [answer.where for answer in answers] if any(answer.where for answer in answers) else []
    for name, metric in metrics.items():
        indices = [
            index for index, answer in enumerate(answers) if answer.reference is not None or not metric.needs_reference
        ]
        if not indices:
            notes.append(f"metric '{name}' needs references, but none of the prompts has one")
            continue
        earlier = (known or {}).get(name)
        start = len(earlier.items) if earlier else 0
        new_indices = [index for index in indices if index >= start]
        scores = score(name, metric, [answers[index] for index in new_indices]) if new_indices else Scores([])
        notes += scores.notes
        result = _measure(metric, scores, new_indices, len(answers), earlier)
        if result is not None:
            result = dataclasses.replace(result, where=where, clusters=numbers)
            measures[name] = _with_controls(name, metric, result, answers, earlier, reader)
    return measures, [*notes, *_missing_references(metrics, answers)]


def clusters(answers: Sequence[Answered], passages: frozenset[int] = frozenset()) -> list[int]:
    """Number answers so that those to dependent questions, or of one `format.cluster`, have the same number.

    Empty if all are different.
    """
    import numpy as np  # noqa: PLC0415 - which --help need not load

    from framework.util.minhash import join  # noqa: PLC0415 - as above
    from framework.util.prompt_clusters import clusters as by_wording  # noqa: PLC0415 - as above

    numbers = by_wording([answer.question for answer in answers], [answer.reference for answer in answers], passages)
    # Reversed, so that the first answer of each cluster is the one that stays in the dict.
    first_index = {answer.cluster: index for index, answer in reversed([*enumerate(answers)]) if answer.cluster}
    pairs = [(first_index[answer.cluster], index) for index, answer in enumerate(answers) if answer.cluster]
    if pairs:
        numbers = join(numbers, *np.array(pairs).T)
    labels: list[int] = numbers.tolist()
    return labels if len(set(labels)) < len(labels) else []


def kind_of(metric: AnyMetric) -> MeasureKind:
    """Return what a metric looks at."""
    # A metric may have another attribute of that name.
    if isinstance(metric.kind, MeasureKind):
        return metric.kind
    if isinstance(metric, AnswerMetric) and (metric.needs_log_probs or metric.exponential):
        return MeasureKind.loss
    return MeasureKind.content if metric.needs_reference else MeasureKind.form


def _missing_references(metrics: Mapping[str, AnyMetric], answers: Sequence[Answered]) -> list[str]:
    """Say that some answers have no reference if others have one and a metric needs it."""
    without = sum(answer.reference is None for answer in answers)
    names = [name for name, metric in metrics.items() if metric.needs_reference]
    if not names or without in {0, len(answers)}:
        return []
    return [f"{without} of {len(answers)} {WITHOUT_REFERENCE} {', '.join(names)}"]


def _measure(
    metric: AnyMetric, scores: Scores, indices: Sequence[int], total: int, earlier: Measure | None
) -> Measure | None:
    items = _scatter(scores.items, indices, total, None)
    weights = _scatter(scores.weights or [1.0] * len(indices), indices, total, 0.0)
    if earlier:
        start = len(earlier.items)
        items, weights = [*earlier.items, *items[start:]], [*(earlier.weights or [1.0] * start), *weights[start:]]
    if not any(weight and item is not None for item, weight in zip(items, weights, strict=True)):
        return None
    if set(weights) == {1.0} and not scores.weights:
        weights = []
    exponential = isinstance(metric, AnswerMetric) and metric.exponential
    value = mean(items, weights, exponential=exponential)
    unit = str(metric.unit)
    up, kind = metric.higher_is_better, kind_of(metric)
    return Measure(value, items, weights, higher_is_better=up, exponential=exponential, unit=unit, kind=kind)


def _with_controls(
    name: str,
    metric: AnyMetric,
    measure: Measure,
    answers: Sequence[Answered],
    earlier: Measure | None,
    reader: Reader,
) -> Measure:
    """Add the controls of a gain: the scores of the answers without their form, and of the best constant answer.

    Of a metric that looks at more than texts this is not known: it may be a judge, which costs a request an answer.
    """
    if isinstance(metric, AnswerMetric) or not metric.needs_reference or measure.kind is not MeasureKind.content:
        return measure
    indices = [index for index, answer in enumerate(answers) if answer.reference is not None]
    sign = 1 if metric.higher_is_better else -1

    def scored(indices: Sequence[int], texts: Sequence[tuple[str, str]]) -> list[float | None]:
        variants = [
            dataclasses.replace(answers[index], answer=answer, reference=reference)
            for index, (answer, reference) in zip(indices, texts, strict=True)
        ]
        return _scatter(score(name, metric, variants).items, indices, len(answers), None)

    earlier_content = (earlier.content or earlier.items) if earlier else []
    new_indices = [index for index in indices if index >= len(earlier_content)]
    bare = scored(
        new_indices,
        [
            reader.read(answer.question, answer.answer, answer.reference or "")
            for answer in map(answers.__getitem__, new_indices)
        ],
    )
    content = [
        item if item is None or bare_item is None else max(item, bare_item, key=lambda value: sign * value)
        for item, bare_item in zip(measure.items, [*earlier_content, *bare[len(earlier_content) :]], strict=True)
    ]
    references = [answers[index].reference or "" for index in indices]
    constants = {
        text: scored(indices, [(text, reference) for reference in references])
        for text, _ in Counter(references).most_common(CONSTANTS)
    }
    # If each of them scores the same everywhere, the metric does not look at the reference.
    if any(len({items[index] for index in indices}) > 1 for items in constants.values()):
        texts = [answers[index].answer for index in indices]
        (mode, times), *_ = Counter(texts).most_common(1)
        if times > 1:
            constants[mode] = scored(indices, [(mode, reference) for reference in references])
        order = random.Random(0).sample(range(len(texts)), len(texts))  # noqa: S311 - no secret
        partner = dict(zip(order, [*order[1:], order[0]], strict=True))
        constants[DEALT] = scored(
            indices, [(texts[partner[position]], text) for position, text in enumerate(references)]
        )
    candidates = {
        text: items for text, items in constants.items() if all(items[index] is not None for index in indices)
    }
    constant = max(
        candidates, key=lambda text: sign * mean(candidates[text], measure.weights, exponential=False), default=""
    )
    return dataclasses.replace(
        measure,
        content=content if content != measure.items else [],
        constant=constant,
        constant_items=candidates.get(constant, []),
        answers=len({answers[index].answer.strip() for index in indices}),
    )


def may_match(metric: Metric, begun: str, reference: str) -> bool:
    """Whether an answer that begins so may score above 0, also with case, punctuation and spaces ignored."""
    plain = plain_text(begun)
    wordless = not any(map(str.isalnum, plain))  # punctuation, which words may follow
    return wordless or metric.may_match(begun, reference) or metric.may_match(plain, plain_text(reference))


def _scatter(values: Sequence[T], indices: Sequence[int], total: int, fill: T) -> list[T]:
    """Spread values over all answers by index; an answer that the metric did not get has `fill`."""
    by_index = dict(zip(indices, values, strict=True))
    return [by_index.get(index, fill) for index in range(total)]


def mean(items: Sequence[float | None], weights: Sequence[float], *, exponential: bool) -> float:
    """Return the weighted mean of the items that are not None, or e to that mean. At least one must count."""
    pairs = zip(items, weights or [1.0] * len(items), strict=True)
    terms = [(item, weight) for item, weight in pairs if item is not None]
    # `fsum`: a mean must not depend on the order of the answers.
    average = math.fsum(item * weight for item, weight in terms) / math.fsum(weight for _, weight in terms)
    return math.exp(min(average, LARGEST_LOG)) if exponential else average


def score(name: str, metric: AnyMetric, answers: Sequence[Answered]) -> Scores:
    """Score answers by one metric, whichever of the two kinds it is.

    Returns:
        A score for each answer, None if there is none, and notes that name the metric and the answer that it failed on.
    """
    if isinstance(metric, AnswerMetric):
        return _score_all(name, metric, answers)
    items: list[float | None] = []
    failures: list[str] = []
    for answer in answers:
        failed = Caught()
        with failed:
            items.append(_number(metric.score(answer.answer, answer.reference)))
        if failed.error:  # third-party code; it is named and the run continues
            message = f"metric '{name}' cannot score the answer {answer.answer[:SHOWN_CHARACTERS]!r}"
            if isinstance(failed.error, NotANumberError):
                raise FrameworkError(f"{message}: {failed.error}") from failed.error
            items.append(None)
            failures.append(f"{message}: {describe_error(failed.error)}")
    if not failures:
        return Scores(items)
    suffix = f" ({len(failures)} of {len(answers)} answers have no score)" if len(answers) > 1 else ""
    return Scores(items, notes=[f"{failures[0]}{suffix}"])


def _score_all(name: str, metric: AnswerMetric, answers: Sequence[Answered]) -> Scores:
    failed = Caught()
    with failed:
        scores = metric.score_all(answers)
        for values in (scores.items, scores.weights or scores.items):
            _check_length(values, answers)
        items = [None if item is None else _number(item) for item in scores.items]
        weights = [_weight(weight) for weight in scores.weights]
        return Scores(items, weights, [f"metric '{name}': {note}" for note in scores.notes])
    assert failed.error is not None  # noqa: S101 - nothing was returned
    if isinstance(failed.error, NotANumberError):
        raise FrameworkError(f"metric '{name}': {failed.error}") from failed.error
    subject = f"the {len(answers)} answers, the first {answers[0].answer[:SHOWN_CHARACTERS]!r}"
    reason = describe_error(failed.error)
    return Scores([None] * len(answers), notes=[f"metric '{name}' cannot score {subject}: {reason}"])


def _check_length(values: Sequence[object], answers: Sequence[Answered]) -> None:
    if len(values) != len(answers):
        raise FrameworkError(
            f"it scores {len(values)} of {len(answers)} answers; give None for an answer without a score"
        )


class NotANumberError(FrameworkError):
    """A metric returns a text, None or the like: a mistake in its code, which each of its answers would show."""


def _number(score: object) -> float:
    if not isinstance(score, SupportsFloat):
        raise NotANumberError(
            f"it returned {short_repr(score)}, which is not a number. Return a float, such as 1.0 or 0.0"
        )
    if not math.isfinite(score):
        raise FrameworkError(f"it returned {score!r}, which is not a finite number")
    return float(score)


def _weight(weight: object) -> float:
    if _number(weight) < 0:
        raise FrameworkError(f"it returned the weight {weight!r}, which is below 0")
    return _number(weight)


def samples(answers: Sequence[Answered], measures: Mapping[str, Measure]) -> list[Sample]:
    """Return each answer with its scores, in the unit of the number that is reported."""
    return [
        Sample(
            answer.question, answer.answer, answer.reference, answer.stopped, _scores(measures, index), answer.tokens
        )
        for index, answer in enumerate(answers)
    ]


def _scores(measures: Mapping[str, Measure], index: int) -> dict[str, float]:
    return {
        name: math.exp(min(item, LARGEST_LOG)) if part.exponential else item
        for name, part in measures.items()
        if (item := part.items[index]) is not None
    }
