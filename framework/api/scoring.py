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

from framework.api.conversations import call_text
from framework.api.protocols import AnswerMetric, AnyMetric, EarlyMetric, MetricWithKind, MetricWithUnit, Model
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
    known = _log_probs(model, prompts) if needs_log_probs else {}
    return [
        Answered(
            question(prompt),
            call_text(answer.calls) or answer.text,
            prompt.reference,
            answer.tokens,
            answer.stopped,
            known.get(number),
            prompt.where,
            prompt.cluster,
        )
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


def _log_probs(model: Model, prompts: Sequence[Prompt]) -> dict[int, tuple[float, ...]]:
    return {number: tuple(scored.log_probs) for number, (_, scored) in references(model, prompts).items()}


def references(model: Model, prompts: Sequence[Prompt]) -> dict[int, tuple[TokenRow, Scored]]:
    """Let the model read each reference after its prompt; one without a distinct token is left out.

    Returns:
        By the number of the prompt, the row in which the reference is learned, and what the model gives of it.
    """
    asked = [number for number, prompt in enumerate(prompts) if prompt.reference is not None]
    rows = model.encode([with_reference(prompts[number], number) for number in asked])
    pairs = [(number, row) for number, row in zip(asked, rows, strict=True) if row.supervised]
    scored = model.score([row for _, row in pairs]) if pairs else []
    return {number: (row, score) for (number, row), score in zip(pairs, scored, strict=True)}


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
    reader = Reader(text for text in (*more, *(one.reference for one in answers)) if text is not None)
    where = [one.where for one in answers] if any(one.where for one in answers) else []
    for name, metric in metrics.items():
        asked = [
            number for number, one in enumerate(answers) if one.reference is not None or not metric.needs_reference
        ]
        if not asked:
            notes.append(f"metric '{name}' needs references, but none of the prompts has one")
            continue
        earlier = (known or {}).get(name)
        start = len(earlier.items) if earlier else 0
        new = [number for number in asked if number >= start]
        scores = score(name, metric, [answers[number] for number in new]) if new else Scores([])
        notes += scores.notes
        result = _measure(metric, scores, new, len(answers), earlier)
        if result is not None:
            result = dataclasses.replace(result, where=where, clusters=numbers)
            measures[name] = _with_controls(name, metric, result, answers, earlier, reader)
    return measures, [*notes, *_unscored(metrics, answers)]


def clusters(answers: Sequence[Answered], passages: frozenset[int] = frozenset()) -> list[int]:
    """Number answers so that those to dependent questions, or of one `format.cluster`, have the same number.

    Empty if all are different.
    """
    import numpy as np  # noqa: PLC0415 - which --help need not load

    from framework.util.minhash import join  # noqa: PLC0415 - as above
    from framework.util.prompt_clusters import clusters as by_wording  # noqa: PLC0415 - as above

    numbers = by_wording([one.question for one in answers], [one.reference for one in answers], passages)
    # Reversed, so that the first answer of each cluster is the one that stays in the dict.
    first = {one.cluster: number for number, one in reversed([*enumerate(answers)]) if one.cluster}
    pairs = [(first[one.cluster], number) for number, one in enumerate(answers) if one.cluster]
    if pairs:
        numbers = join(numbers, *np.array(pairs).T)
    labels: list[int] = numbers.tolist()
    return labels if len(set(labels)) < len(labels) else []


def kind_of(metric: AnyMetric) -> MeasureKind:
    """Return what a metric looks at."""
    # A metric may have another attribute of that name.
    if isinstance(metric, MetricWithKind) and isinstance(metric.kind, MeasureKind):
        return metric.kind
    if isinstance(metric, AnswerMetric) and (metric.needs_log_probs or metric.exponential):
        return MeasureKind.loss
    return MeasureKind.content if metric.needs_reference else MeasureKind.form


def _unscored(metrics: Mapping[str, AnyMetric], answers: Sequence[Answered]) -> list[str]:
    """Say that some answers have no reference if others have one and a metric needs it."""
    without = sum(one.reference is None for one in answers)
    names = [name for name, metric in metrics.items() if metric.needs_reference]
    if not names or without in {0, len(answers)}:
        return []
    return [f"{without} of {len(answers)} {WITHOUT_REFERENCE} {', '.join(names)}"]


def _measure(
    metric: AnyMetric, scores: Scores, asked: Sequence[int], total: int, earlier: Measure | None
) -> Measure | None:
    items = _placed(scores.items, asked, total, None)
    weights = _placed(scores.weights or [1.0] * len(asked), asked, total, 0.0)
    if earlier:
        start = len(earlier.items)
        items, weights = [*earlier.items, *items[start:]], [*(earlier.weights or [1.0] * start), *weights[start:]]
    if not any(weight and item is not None for item, weight in zip(items, weights, strict=True)):
        return None
    if set(weights) == {1.0} and not scores.weights:
        weights = []
    exponential = isinstance(metric, AnswerMetric) and metric.exponential
    value = mean(items, weights, exponential=exponential)
    unit = str(metric.unit) if isinstance(metric, MetricWithUnit) else ""
    up, kind = metric.higher_is_better, kind_of(metric)
    return Measure(value, items, weights, up, exponential=exponential, unit=unit, kind=kind)


def _with_controls(
    name: str,
    metric: AnyMetric,
    measure: Measure,
    answers: Sequence[Answered],
    earlier: Measure | None,
    reader: Reader,
) -> Measure:
    """Add what a gain is to be compared with: the answers without their form, and the best constant answer.

    Of a metric that looks at more than texts this is not known: it may be a judge, which costs a request an answer.
    """
    if isinstance(metric, AnswerMetric) or not metric.needs_reference or measure.kind is not MeasureKind.content:
        return measure
    asked = [number for number, one in enumerate(answers) if one.reference is not None]
    sign = 1 if metric.higher_is_better else -1

    def scored(numbers: Sequence[int], texts: Sequence[tuple[str, str]]) -> list[float | None]:
        given = [
            dataclasses.replace(answers[number], answer=answer, reference=reference)
            for number, (answer, reference) in zip(numbers, texts, strict=True)
        ]
        return _placed(score(name, metric, given).items, numbers, len(answers), None)

    known = (earlier.content or earlier.items) if earlier else []
    new = [number for number in asked if number >= len(known)]
    bare = scored(
        new,
        [reader.read(one.question, one.answer, one.reference or "") for one in map(answers.__getitem__, new)],
    )
    content = [
        item if item is None or other is None else max(item, other, key=lambda one: sign * one)
        for item, other in zip(measure.items, [*known, *bare[len(known) :]], strict=True)
    ]
    references = [answers[number].reference or "" for number in asked]
    constants = {
        text: scored(asked, [(text, reference) for reference in references])
        for text, _ in Counter(references).most_common(CONSTANTS)
    }
    # If each of them scores the same everywhere, the metric does not look at the reference.
    if any(len({items[number] for number in asked}) > 1 for items in constants.values()):
        own = [answers[number].answer for number in asked]
        (most, times), *_ = Counter(own).most_common(1)
        if times > 1:
            constants[most] = scored(asked, [(most, reference) for reference in references])
        order = random.Random(0).sample(range(len(own)), len(own))  # noqa: S311 - no secret
        other = dict(zip(order, [*order[1:], order[0]], strict=True))
        constants[DEALT] = scored(asked, [(own[other[place]], text) for place, text in enumerate(references)])
    whole = {text: items for text, items in constants.items() if all(items[number] is not None for number in asked)}
    constant = max(whole, key=lambda text: sign * mean(whole[text], measure.weights, exponential=False), default="")
    return dataclasses.replace(
        measure,
        content=content if content != measure.items else [],
        constant=constant,
        constant_items=whole.get(constant, []),
        answers=len({answers[number].answer.strip() for number in asked}),
    )


def may_match(metric: EarlyMetric, begun: str, reference: str) -> bool:
    """Whether an answer that begins so may score above 0, also with case, punctuation and spaces ignored."""
    plain = plain_text(begun)
    wordless = not any(map(str.isalnum, plain))  # punctuation, which words may follow
    return wordless or metric.may_match(begun, reference) or metric.may_match(plain, plain_text(reference))


def _placed(values: Sequence[T], numbers: Sequence[int], total: int, rest: T) -> list[T]:
    """Put values in the places of those answers that were given to the metric."""
    known = dict(zip(numbers, values, strict=True))
    return [known.get(number, rest) for number in range(total)]


def mean(items: Sequence[float | None], weights: Sequence[float], *, exponential: bool) -> float:
    """Return the weighted mean of the items that are not None, or e to that mean. At least one must count."""
    pairs = zip(items, weights or [1.0] * len(items), strict=True)
    known = [(item, weight) for item, weight in pairs if item is not None]
    # `fsum`: a mean must not depend on the order of the answers.
    average = math.fsum(item * weight for item, weight in known) / math.fsum(weight for _, weight in known)
    return math.exp(min(average, LARGEST_LOG)) if exponential else average


def score(name: str, metric: AnyMetric, answers: Sequence[Answered]) -> Scores:
    """Score answers by one metric, whichever of the two kinds it is.

    Returns:
        A score for each answer, None if there is none, and notes that name the metric and the answer that it failed on.
    """
    if isinstance(metric, AnswerMetric):
        return _all_at_once(name, metric, answers)
    items: list[float | None] = []
    failures: list[str] = []
    for answer in answers:
        failed = Caught()
        with failed:
            items.append(_number(metric.score(answer.answer, answer.reference)))
        if failed.error:  # third-party code; it is named and the run continues
            place = f"metric '{name}' cannot score the answer {answer.answer[:SHOWN_CHARACTERS]!r}"
            if isinstance(failed.error, NotANumberError):
                raise FrameworkError(f"{place}: {failed.error}") from failed.error
            items.append(None)
            failures.append(f"{place}: {describe_error(failed.error)}")
    if not failures:
        return Scores(items)
    more = f" ({len(failures)} of {len(answers)} answers have no score)" if len(answers) > 1 else ""
    return Scores(items, notes=[f"{failures[0]}{more}"])


def _all_at_once(name: str, metric: AnswerMetric, answers: Sequence[Answered]) -> Scores:
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
    some = f"the {len(answers)} answers, the first {answers[0].answer[:SHOWN_CHARACTERS]!r}"
    reason = describe_error(failed.error)
    return Scores([None] * len(answers), notes=[f"metric '{name}' cannot score {some}: {reason}"])


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
        Sample(one.question, one.answer, one.reference, one.stopped, _scores(measures, number), one.tokens)
        for number, one in enumerate(answers)
    ]


def _scores(measures: Mapping[str, Measure], number: int) -> dict[str, float]:
    return {
        name: math.exp(min(item, LARGEST_LOG)) if part.exponential else item
        for name, part in measures.items()
        if (item := part.items[number]) is not None
    }
